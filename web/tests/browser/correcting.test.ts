/** The owner says what an answer should have been: it is kept on this machine, changed, removed; and nobody else may. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { answered, ask } from "./chromium";
import { accessibilityFaults, closeAll, expectQuiet, fake, focused, open, restartServer, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

const CORRECT = "[aria-label='Correct this answer']";
const TEXT = ".correction textarea";

async function openEditor() {
  const page = await open();
  await ask(page, "is it far");
  await answered(page);
  await page.click(CORRECT);
  await page.waitForSelector(TEXT);
  return page;
}

describe("a correction", () => {
  test("is kept with the conversation, the answer and what was wanted, and the answer stays as it was", async () => {
    const page = await openEditor();
    const given = await page.inputValue(TEXT);
    expect(given).toContain("You said: is it far");
    expect(await page.getAttribute(CORRECT, "aria-expanded")).toBe("true");
    expect(await page.textContent(".correction")).toContain("It is kept on this machine, and nobody else sees it.");
    expect(await page.locator(".correction .primary").isDisabled()).toBe(true); // nothing is corrected yet
    expect(await accessibilityFaults()).toEqual([]);
    await page.fill(TEXT, "Two hours on foot.\nOne by bus.");
    await page.click(".correction .primary");
    await page.waitForSelector("text=The correction is kept on this machine.");
    expect(await page.locator(".correction").count()).toBe(0);
    expect(fake.state.corrections).toMatchObject([
      { messages: [{ role: "user", content: "is it far" }], given, wanted: "Two hours on foot.\nOne by bus.", model: "gpt-oss:20b" },
    ]);
    expect(await page.locator(".message.assistant .prose").last().textContent()).toContain("You said: is it far");
    expectQuiet();
  });

  test("is found again, changed by keyboard and removed", async () => {
    const page = await openEditor();
    await page.fill(TEXT, "first");
    await page.keyboard.press("Enter"); // a line, and not the end
    expect(fake.state.corrections).toEqual([]);
    await page.keyboard.press("Control+Enter");
    await expect.poll(() => fake.state.corrections[0]?.wanted).toBe("first\n");
    await page.click(CORRECT);
    await page.waitForSelector(TEXT);
    expect(await page.inputValue(TEXT)).toBe("first\n");
    await page.fill(TEXT, "second");
    await page.keyboard.press("Control+Enter");
    await expect.poll(() => fake.state.corrections.map((each) => each.wanted)).toEqual(["second"]);
    await page.click(CORRECT);
    await page.click("text=Remove the correction");
    await expect.poll(() => fake.state.corrections).toEqual([]);
    await page.click(CORRECT);
    await page.waitForSelector(TEXT);
    expect(await page.inputValue(TEXT)).toContain("You said"); // as it was answered
    await page.keyboard.press("Escape");
    await expect.poll(() => page.locator(".correction").count()).toBe(0);
    await expect.poll(focused).toBe("composer");
    expectQuiet();
  });

  test("that the server refuses stays to be mended", async () => {
    const page = await openEditor();
    await page.fill(TEXT, "refuse this");
    await page.click(".correction .primary");
    await page.waitForSelector("text=The correction could not be kept: nothing was corrected");
    expect(await page.inputValue(TEXT)).toBe("refuse this");
    expectQuiet([expect.stringContaining("400") as unknown as string]);
  });

  test("has the instructions that the model had", async () => {
    const page = await open();
    await page.keyboard.press("Alt+,");
    await page.fill("#instructions", "Be brief.");
    await page.keyboard.press("Escape");
    await ask(page, "is it far");
    await answered(page);
    await page.click(CORRECT);
    await page.fill(TEXT, "Yes.");
    await page.keyboard.press("Control+Enter");
    await expect.poll(() => fake.state.corrections[0]?.messages[0]).toMatchObject({ role: "system", content: "Be brief." });
    expectQuiet();
  });

  test("is for the owner: a reader with a key has no such button", async () => {
    await restartServer({ scopes: [] });
    const page = await open();
    await ask(page, "is it far");
    await answered(page);
    expect(await page.locator("[aria-label='Another answer']").count()).toBe(1);
    expect(await page.locator(CORRECT).count()).toBe(0);
    expectQuiet();
  });
});
