/** What the page says of the model, of an answer that was lost, and of where the words go. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { answered, ask, lastAnswer, type Opened } from "./chromium";
import { accessibilityFaults, closeAll, expectQuiet, fake, open, opened, restartServer, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

describe("honesty", () => {
  test("a toy is called one where it is chosen, at the top and under its answers; no answer is beyond doubt", async () => {
    const page = await open();
    await ask(page, "hello");
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("This answer may be wrong.");
    expect(await page.locator(".honest").count()).toBe(0);
    await page.keyboard.press("Alt+n");
    await page.keyboard.press("Alt+m");
    expect(await page.textContent(".choice:has-text('smollm2')")).toContain("A toy: answers are often wrong");
    await page.click(".choice:has-text('smollm2')");
    expect(await page.textContent(".honest")).toContain("smollm2 is a toy: its answers are often wrong");
    expect(await page.textContent(".welcome")).not.toMatch(/vaccine|doctor|medic/i);
    await ask(page, "hello");
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("This model is a toy: its answers are often wrong.");
    expect(await accessibilityFaults()).toEqual([]);
    expectQuiet();
  });

  test("an answer that the server or the page lost is shown as cut, in the export too", async () => {
    const page = await open();
    await ask(page, "slowly");
    await expect.poll(() => lastAnswer(page).textContent()).toContain("word word");
    await expect.poll(() => [...fake.conversations.values()][0]?.messages[1]?.text ?? "").toContain("word"); // saved on the way
    await page.reload();
    await page.waitForSelector(".ended");
    expect(await page.textContent(".ended")).toContain("This answer is not complete.");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("[aria-label='Export as Markdown']")]);
    expect(readFileSync(await download.path(), "utf8")).toContain("*This answer is not complete.");
    expectQuiet();
  });
});

describe("what is promised", () => {
  async function reopen(options: { openedFrom?: string; guest?: boolean }): Promise<Opened["page"]> {
    await restartServer(options);
    return open();
  }

  test("depends on where the page is opened, as the server sees it", async () => {
    let page = await open();
    expect(await page.textContent(".tagline")).toBe("An open model, on your machine. Nothing leaves it.");
    await opened.close();
    page = await reopen({ openedFrom: "network_plain" });
    expect(await page.textContent(".tagline")).toContain("travels there unencrypted: others on the network can read it.");
    await opened.close();
    page = await reopen({ openedFrom: "unknown" });
    expect(await page.textContent(".tagline")).toBe("An open model on 127.0.0.1.");
    expect(await page.textContent(".welcome")).not.toContain("stays here");
    expectQuiet();
  });

  test("without a key another user of the machine may talk, and is told that nothing is kept", async () => {
    const page = await reopen({ guest: true, openedFrom: "unknown" });
    expect(await page.textContent(".sidebar")).toContain("what you write here is not kept");
    await ask(page, "hello");
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("You said: hello");
    expect(await page.locator("dialog, .notice").count()).toBe(0);
    expect(fake.conversations.size).toBe(0);
    await page.click("text=Enter a key");
    await page.waitForSelector("dialog input[type=password]");
    expect(await accessibilityFaults()).toEqual([]);
    expectQuiet();
  });
});
