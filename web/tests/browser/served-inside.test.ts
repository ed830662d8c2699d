/** Looking inside over `ouvert serve` itself, with a real model: what the stand-in cannot show. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { answered, ask, lastAnswer, openPage, type Opened } from "./chromium";
import { accessibilityFaultsOf } from "./fixture";
import { makeDirection, serve, smollm2, type Serving } from "./ouvert-serve";

let serving: Serving;
let opened: Opened;

beforeAll(async () => {
  serving = await serve(smollm2());
  opened = await openPage(serving.address);
  const { page } = opened;
  await page.keyboard.press("Alt+Comma");
  await page.fill("#number-max_tokens", "12");
  await page.fill("#number-temperature", "0");
  await page.keyboard.press("Escape");
  await ask(page, "Complete: The capital of France is");
  await answered(page);
}, 300_000);

afterAll(async () => {
  await opened?.close();
  await serving?.stop();
});

test("the tokens of an answer that was given are those that were written, and the last layer says each of them", { timeout: 300_000 }, async () => {
  const { page } = opened;
  const said = (await lastAnswer(page).locator(".prose").textContent()) ?? "";
  await page.click(".tools .button:has-text('Look inside')");
  await page.waitForSelector(".answer-inside .token", { timeout: 120_000 });
  const tokens = await page.locator(".answer-inside .token").allTextContents();
  expect(tokens.join("").replaceAll("⏎", "\n").replace("<|im_end|>", "").trim()).toBe(said.trim());

  await page.click("text=Open the full view");
  await page.waitForSelector("dialog [role=grid]", { timeout: 120_000 });
  await page.focus("dialog [role=gridcell][tabindex='0']");
  await page.keyboard.press("End"); // the grid draws forty tokens at a time
  // At temperature 0 every token is the likeliest of the last layer: each cell of the top row is marked.
  const first = await page.locator("dialog [role=row]").nth(1).locator("[role=gridcell]").evaluateAll((all) => all.map((each) => [each.className.includes("marked"), each.textContent]));
  const top = first.slice(-1 - tokens.length, -1);
  expect(top.map(([, text]) => text)).toEqual(tokens.map((text) => (/^\s+$/.test(text) ? expect.anything() : text)));
  expect(top.every(([isMarked]) => isMarked)).toBe(true);
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
});

test("attention, attribution, and what this family does not have", { timeout: 300_000 }, async () => {
  const { page } = opened;
  await page.click("dialog [role=tab] >> text=Attention");
  await page.waitForSelector("dialog .bars li", { timeout: 120_000 });
  expect(await page.locator("dialog .bars li").count()).toBe(9); // SmolLM2 has nine heads
  await page.click("dialog [role=tab] >> text=Experts");
  expect(await page.textContent("dialog [role=tabpanel]")).toContain("Models of the family llama have no view “Experts”");
  await page.click("dialog [role=tab] >> text=Attribution");
  await expect.poll(() => page.textContent("dialog [role=tabpanel]"), { timeout: 120_000 }).toContain("All parts add up to");
  await page.keyboard.press("Escape");
  expect(opened.requests.filter((url) => !url.startsWith(serving.address))).toEqual([]);
  expect([opened.violations, opened.complaints]).toEqual([[], []]);
});

test("an answer that is watched is the same answer, and its probe is one that was made for the model", { timeout: 300_000 }, async () => {
  const { page } = opened;
  await page.click(".tools .button:has-text('Close the inside')");
  await page.waitForSelector(".message.assistant .prose");
  const said = (await lastAnswer(page).locator(".prose").textContent()) ?? "";
  const [french, english] = [["La mer", "Le ciel", "Mon ami", "La ville", "Le pain", "Ma maison", "Le soleil", "La table"], ["The sea", "The sky", "My friend", "The town", "The bread", "My house", "The sun", "The table"]];
  makeDirection(serving.home, "french", french.map((each) => `${each} est`), english.map((each) => `${each} is`));
  await page.keyboard.press("Alt+Comma");
  await page.check("dialog label:has-text('Show what happens inside the model') input");
  await page.selectOption("dialog .choose select", { label: "french" });
  await page.keyboard.press("Escape");
  await page.click("[aria-label='Another answer']");
  await page.waitForSelector(".message.assistant .versions");
  await answered(page);
  const tokens = await page.locator(".watched .token").allTextContents();
  expect(tokens.join("").replaceAll("⏎", "\n").replace("<|im_end|>", "").trim()).toBe(said.trim());
  expect(await page.locator(".watched .meter-name").allTextContents()).toEqual(["Confidence", expect.stringMatching(/^Probe french, after layer \d+$/)]);
  expect(await page.locator(".watched [role=slider]").nth(1).getAttribute("aria-valuetext")).toMatch(/: -?[\d.,]+, (not )?above the threshold of -?[\d.,]+$/);
  expect([opened.violations, opened.complaints]).toEqual([[], []]);
});
