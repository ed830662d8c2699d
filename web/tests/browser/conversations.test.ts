/** Conversations in the list: searched, renamed, exported, deleted, merged, imported; and titles. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { answered, ask, lastAnswer } from "./chromium";
import { closeAll, expectQuiet, fake, focused, open, opened, openOnly, restartServer, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

describe("conversations", () => {
  test("are searched, renamed, exported, deleted", async () => {
    const page = await open();
    for (const text of ["about otters", "about herons"]) {
      await page.keyboard.press("Alt+n");
      await ask(page, text);
      await answered(page);
    }
    await page.waitForSelector(".entry >> nth=1");
    await page.keyboard.press("Control+k");
    await page.keyboard.type("otters");
    expect(await page.inputValue("#search")).toBe("otters"); // from the first letter on
    await expect.poll(() => page.locator(".entry").count()).toBe(1);
    expect(await page.textContent(".excerpt")).toContain("otters");
    await page.hover(".entry");
    await page.click(".entry [aria-label^=Rename]");
    await page.waitForSelector("dialog input");
    await page.keyboard.type("Rivers"); // the field has the focus, and all of the old title is selected
    await page.keyboard.press("Enter");
    await page.fill("#search", "");
    await page.waitForSelector(".entry:has-text('Rivers')");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("[aria-label='Export as Markdown']")]);
    expect(download.suggestedFilename()).toBe("about herons.md");
    await page.hover(".entry:has-text('Rivers')");
    await page.click(".entry:has-text('Rivers') [aria-label^=Delete]");
    await expect.poll(focused).toBe("Cancel"); // Enter alone deletes nothing
    const look = (name: string) => page.evaluate((at) => getComputedStyle(document.querySelector(at) ?? document.body).backgroundColor, name);
    expect(await look("dialog .primary")).toBe("rgb(163, 38, 29)");
    await page.click("dialog .primary");
    await expect.poll(() => [...fake.conversations.values()].map(({ title }) => title)).toEqual(["about herons"]);
    expectQuiet();
  });

  test("of two windows are merged", async () => {
    const page = await open();
    await ask(page, "from the first window");
    await answered(page);
    await expect.poll(() => [...fake.conversations.values()][0]?.messages[1].receipt).toBeTruthy();
    const second = await opened.context.newPage();
    await second.goto(page.url());
    await second.bringToFront();
    await second.waitForSelector(".message.assistant .tools");
    await ask(second, "from the second window");
    await expect.poll(() => lastAnswer(second).textContent()).toContain("second window");
    await expect.poll(() => [...fake.conversations.values()][0].messages.length).toBe(4);
    await page.bringToFront();
    await ask(page, "from the first window again");
    await expect.poll(() => [...fake.conversations.values()][0].messages.length).toBe(6);
    expect(await page.textContent(".notice")).toContain("both versions were kept");
    expectQuiet(["Failed to load resource: the server responded with a status of 409 (Conflict)"]);
  });

  test("of a server with a key are shown once the key is given", async () => {
    await restartServer({ key: "secret" });
    const page = await openOnly();
    await page.waitForSelector("dialog input[type=password]");
    await page.keyboard.type("secret");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector(".model")?.textContent?.includes("gpt-oss"));
    await ask(page, "hello");
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("You said: hello");
    expectQuiet();
  });

  test.each(["not JSON", "[1, 2]", "{}", "null"])("a file that is no export is called so in the reader's words: %s", async (content) => {
    const page = await open({ locale: "fr-FR" });
    await page.keyboard.press("Alt+Comma");
    await page.setInputFiles("dialog input[type=file]", { name: "a.json", mimeType: "application/json", buffer: Buffer.from(content) });
    await page.getByText("Ce fichier n’est pas un export de conversations.").waitFor();
    expectQuiet();
  });

  test("get their titles from the model, unless somebody gave it one or wants none", async () => {
    const page = await open();
    await ask(page, "Where do otters live?");
    await answered(page);
    await expect.poll(() => page.textContent(".conversation-title")).toBe("A matter of animals");
    expect(fake.titled.map(({ model }) => model)).toEqual(["gpt-oss:20b"]);
    await page.keyboard.press("Alt+n");
    await page.keyboard.press("Alt+Comma");
    await page.click("text=Let the model give titles");
    await page.keyboard.press("Escape");
    await ask(page, "And herons?");
    await answered(page);
    await expect.poll(() => fake.conversations.size).toBe(2);
    expect(await page.textContent(".conversation-title")).toBe("And herons?");
    expect(fake.titled.length).toBe(1);
    expectQuiet();
  });
});
