/** A conversation or a document that is longer than the model's context. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { answered, ask, lastAnswer, type Opened } from "./chromium";
import { accessibilityFaults, closeAll, expectQuiet, fake, open, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

describe("a conversation that fills the context", () => {
  const LONG = "A line of a report that goes on. ".repeat(200);

  async function fill(): Promise<Opened["page"]> {
    const page = await open();
    await ask(page, LONG);
    await answered(page);
    await page.fill("#composer", LONG);
    await page.waitForSelector(".too-long");
    expect(await page.isDisabled("button[type=submit]")).toBe(true);
    return page;
  }

  test("does not say that leaving out helps where one message is too long by itself", async () => {
    const page = await fill();
    await page.click("text=Continue without the oldest turns");
    await page.fill("#composer", "over the limit");
    await page.press("#composer", "Enter");
    await page.waitForSelector(".ended.failed");
    expect(await page.textContent(".ended.failed")).toContain("too long by itself");
    expect(await page.textContent(".ended.failed")).toContain("Send a part of it.");
    expectQuiet([expect.stringContaining("400 (Bad Request)") as unknown as string]);
  });

  test("goes on without its oldest turns, if that is wished, and the receipt says so", async () => {
    const page = await fill();
    await page.click("text=Continue without the oldest turns");
    expect(await page.textContent(".too-long")).toContain("The oldest turns will not be sent.");
    expect(await accessibilityFaults()).toEqual([]);
    await page.press("#composer", "Enter");
    await expect.poll(() => page.locator(".message.assistant").count()).toBe(2);
    await answered(page);
    expect(fake.asked.map(({ ouvert }) => ouvert.truncation)).toEqual([undefined, "auto"]);
    expect(await lastAnswer(page).textContent()).toMatch(/Without the oldest turns: [\d,]+ tokens were not sent/);
    await page.click("text=Leave nothing out");
    await page.keyboard.press("Alt+n");
    await ask(page, "hello");
    await answered(page);
    expect(fake.asked[2].ouvert).not.toHaveProperty("truncation"); // it is this conversation's alone
    expectQuiet();
  });

  test("goes on in a new one with a summary, and what was typed is not lost", async () => {
    const page = await fill();
    await page.click("text=New conversation with a summary");
    await page.waitForSelector(".chip:has-text('Summary of')");
    expect(await page.inputValue("#composer")).toBe(LONG);
    await page.fill("#composer", "Go on.");
    await page.waitForSelector("button[type=submit]:enabled");
    await page.press("#composer", "Enter");
    await answered(page);
    expect(fake.asked[1].messages.at(-1).content).toContain("Summarise our conversation");
    expect(fake.asked[1].ouvert.truncation).toBe("auto");
    expect(fake.asked[2].messages).toEqual([{ role: "user", content: expect.stringContaining("They talked about otters.\n</document>\n\nGo on.") }]);
    await expect.poll(() => fake.conversations.size).toBe(2);
    expectQuiet();
  });
});
