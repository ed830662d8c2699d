/** Settings, instructions and presets, and what is sent of them. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { answered, ask } from "./chromium";
import { accessibilityFaults, closeAll, expectQuiet, fake, focused, open, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

describe("settings", () => {
  test("are sent as they were set, and nothing is sent that was not", async () => {
    const page = await open();
    await page.keyboard.press("Alt+Comma");
    await page.fill("#system-prompt", "Answer in verse.");
    await page.fill("#number-temperature", "0,2");
    await page.fill("#number-seed", "7");
    await page.fill("#number-top_p", "3");
    expect(await page.textContent("#number-top_p-hint")).toBe("between 0.01 and 1");
    await page.keyboard.press("Escape");
    await page.click(".effort label:has-text('High')");
    await ask(page, "hello");
    await answered(page);
    expect(fake.asked[0]).toMatchObject({ temperature: 0.2, seed: 7, reasoning_effort: "high" });
    expect(fake.asked[0]).not.toHaveProperty("top_p");
    expect(fake.asked[0].messages[0]).toEqual({ role: "system", content: "Answer in verse." });
    await page.keyboard.press("Alt+m");
    await page.click(".choice:has-text('smollm2')");
    await page.waitForSelector("dialog", { state: "detached" });
    await expect.poll(() => page.locator(".effort").count()).toBe(0);
    await ask(page, "again");
    await answered(page);
    expect(fake.asked[1].model).toBe("smollm2");
    expect(fake.asked[1]).not.toHaveProperty("reasoning_effort");
    expectQuiet();
  });
});

describe("instructions and presets", () => {
  test("hold for all conversations, or under a name for any", async () => {
    const page = await open();
    await page.keyboard.press("Alt+Comma");
    await expect.poll(focused).toBe("instructions");
    await page.keyboard.type("Answer in verse.");
    await page.fill("#system-prompt", "Be brief.");
    await page.fill("#number-temperature", "0.2");
    await page.fill("[aria-label='Name of a preset']", "Short verse");
    await page.click("text=Keep as preset");
    await page.keyboard.press("Escape");
    await ask(page, "first");
    await answered(page);
    await page.keyboard.press("Alt+n");
    await page.keyboard.press("Alt+Comma");
    await page.fill("#number-temperature", "");
    await page.keyboard.press("Escape");
    await ask(page, "second");
    await answered(page);
    await page.reload();
    await page.keyboard.press("Alt+n");
    await page.keyboard.press("Alt+Comma");
    await page.click(".presets >> text=Short verse");
    expect(await page.inputValue("#system-prompt")).toBe("Be brief.");
    expect(await page.inputValue("#number-temperature")).toBe("0.2");
    expect(await accessibilityFaults()).toEqual([]);
    await page.keyboard.press("Escape");
    await ask(page, "third");
    await answered(page);
    expect(fake.asked.map(({ messages, temperature }) => [messages[0].content, temperature])).toEqual([
      ["Answer in verse.\n\nBe brief.", 0.2], ["Answer in verse.", undefined], ["Answer in verse.\n\nBe brief.", 0.2],
    ]);
    expectQuiet();
  });
});
