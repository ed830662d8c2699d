/** Watching an answer while it is written, over the fake server, which streams what a real model gave. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { answered, ask } from "./chromium";
import { accessibilityFaults, closeAll, expectQuiet, fake, open, opened, restartServer, startServer } from "./fixture";

const QUESTION = "Complete: The capital of France is";
const SWITCH = "dialog label:has-text('Show what happens inside the model') input";

beforeEach(() => startServer());
afterEach(closeAll);

test("an answer is underlined while it is written, with meters of confidence, experts and a probe; nothing of it is stored", async () => {
  let release = (_: unknown) => {};
  fake.state.traces.written = new Promise((resolve) => (release = resolve));
  fake.state.traces.directions.push({ name: "joy", layers: [12], chosen: 12, width: 8, model: { name: "gpt-oss:20b" } });
  fake.state.traces.directions.push({ name: "of-another", layers: [12], chosen: 12, width: 8, model: { name: "smollm2", family: "llama", parameters: 1 } });
  const page = await open();
  await ask(page, "hello");
  await answered(page);
  expect(fake.asked[0].ouvert).not.toHaveProperty("watch"); // off by default
  await page.keyboard.press("Alt+Comma");
  await page.check(SWITCH);
  await page.waitForSelector("dialog .choose select");
  expect(await page.locator("dialog .choose option").allTextContents()).toEqual(["none", "joy"]);
  await page.selectOption("dialog .choose select", { label: "joy" });
  expect(await accessibilityFaults()).toEqual([]);
  await page.keyboard.press("Escape");

  await ask(page, QUESTION);
  await expect.poll(() => page.locator(".watched .token").allTextContents()).toEqual(["The", " capital", " of", " France"]);
  expect(fake.asked[1].ouvert.watch).toEqual(["confidence", "experts", "probe:joy"]);
  expect(await page.locator(".watched .meter-name").allTextContents()).toEqual(["Confidence", "Spread over the chosen experts", "Probe joy, after layer 12"]);
  expect(await page.locator(".watched .threshold").count()).toBe(1);
  const said = (n: number) => page.locator(".watched [role=slider]").nth(n).getAttribute("aria-valuetext");
  expect(await said(2)).toBe("“ France”: 0.25, not above the threshold of 0.5"); // the newest token
  expect(await page.locator(".watched button").count()).toBe(0);
  expect(await accessibilityFaults()).toEqual([]);
  release(null);
  await answered(page);
  expect(await page.locator(".watched .token").allTextContents()).toEqual(["The", " capital", " of", " France", " is", " Paris", ".", "<|im_end|>"]);
  await page.click(".watched .token >> nth=5");
  expect(await said(2)).toBe("“ Paris”: 0.75, above the threshold of 0.5");
  expect(await page.textContent(".watched .alternatives .came th")).toMatch(/“ Paris”.*written/);

  await page.click("text=Show as text");
  await expect.poll(() => page.locator(".message.assistant .prose").count()).toBe(2);
  expect(await page.locator(".watched").count()).toBe(0);
  await expect.poll(() => [...fake.conversations.values()][0]?.messages[3]?.receipt).toBeTruthy();
  expect(JSON.stringify([...fake.conversations.values()])).not.toContain("projections");
  expect(opened.requests.filter((url) => url.includes("/ouvert/traces"))).toEqual([]);
  expectQuiet();
});

test("who is not the owner is offered no switch", async () => {
  await restartServer({ guest: true });
  const page = await open();
  await page.keyboard.press("Alt+Comma");
  await page.waitForSelector("dialog #system-prompt");
  expect(await page.locator(SWITCH).count()).toBe(0);
  expectQuiet();
});
