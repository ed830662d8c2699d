/** The built page over `ouvert serve` itself, with a real model: what the stand-in cannot show. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { answered, ask, lastAnswer, openPage, type Opened } from "./chromium";
import { serve, smollm2, type Serving } from "./ouvert-serve";

let serving: Serving;
let home: string;
let address: string;
let opened: Opened;

beforeAll(async () => {
  serving = await serve(smollm2());
  ({ home, address } = serving);
}, 300_000);

afterAll(async () => {
  await opened?.close();
  await serving.stop();
});

test("a real model answers, its receipt says what left, and what is kept is private", async () => {
  opened = await openPage(address);
  const { page } = opened;
  await page.keyboard.press("Alt+Comma");
  await page.fill("#number-max_tokens", "60");
  await page.fill("#number-seed", "3");
  await page.fill("#number-temperature", "0");
  await page.keyboard.press("Escape");
  await page.fill("#composer", "What is the capital of France?");
  await expect.poll(() => page.textContent("#context")).toMatch(/\d+ of 2,048 tokens/);
  const counted = Number(/(\d+) of/.exec((await page.textContent("#context")) ?? "")?.[1]);
  await ask(page, "What is the capital of France?");
  await answered(page);
  const text = await lastAnswer(page).locator(".prose").textContent();
  expect(text?.trim()).toBeTruthy();

  await page.keyboard.press("Alt+i");
  expect(await page.textContent(".left.nothing p")).toBe("What left this machine: nothing.");
  expect(await page.locator(".left dd").allTextContents()).toEqual(["0", "0", "0"]);
  const receipt = JSON.parse((await page.textContent(".whole pre")) ?? "") as { tokens: { prompt: number }; sampling: { seed: number } };
  expect(receipt.tokens.prompt).toBe(counted); // the count beside the arrow is what was sent
  expect(receipt.sampling.seed).toBe(3);
  await page.keyboard.press("Escape");

  await page.click("[aria-label='Another answer']");
  await expect.poll(() => page.locator(".versions").count()).toBe(1);
  await answered(page);
  expect(await lastAnswer(page).locator(".prose").textContent()).toBe(text); // same seed, same words

  const folder = join(home, "server", "conversations");
  const kept = () => readdirSync(folder).filter((name) => name.endsWith(".json"));
  await expect.poll(() => kept().length).toBe(1);
  const file = join(folder, kept()[0] ?? "");
  await expect.poll(() => (JSON.parse(readFileSync(file, "utf8")) as { messages: { receipt?: unknown }[] }).messages.filter((each) => each.receipt).length).toBe(2);
  expect(statSync(file).mode & 0o777).toBe(0o600);

  await page.reload();
  await page.waitForSelector(".message.assistant .versions");
  await page.fill("#search", "CAPITAL");
  await expect.poll(() => page.textContent(".excerpt")).toContain("What is the capital of France?");

  expect(opened.requests.filter((url) => !url.startsWith(address))).toEqual([]);
  expect(opened.violations).toEqual([]);
  expect(opened.complaints).toEqual([]);
});

test("stopping frees the server at once", async () => {
  const { page } = opened;
  await page.keyboard.press("Alt+n");
  await page.keyboard.press("Alt+Comma");
  await page.fill("#number-max_tokens", "4000");
  await page.fill("#number-temperature", "1");
  await page.keyboard.press("Escape");
  await ask(page, "Tell a very long story about a lighthouse, with many chapters.");
  await page.waitForSelector(".prose .block");
  const answers = async () => ((await (await fetch(`${address}health`)).json()) as { answers: number }).answers;
  expect(await answers()).toBe(1);
  await page.keyboard.press("Escape");
  await expect.poll(answers).toBe(0);
  await page.waitForSelector(".ended");
});

test("a long prompt is read in view, and a full context goes on without its oldest turns", async () => {
  const { page } = opened;
  const long = "One of the many lines that a long report consists of.\n".repeat(75);
  await page.keyboard.press("Alt+n");
  await page.keyboard.press("Alt+Comma");
  await page.fill("#number-max_tokens", "20");
  await page.keyboard.press("Escape");
  for (const n of [1, 2]) {
    await ask(page, `${n}. ${long}`);
    await expect.poll(() => page.textContent(".waiting").catch(() => ""), { interval: 20 }).toMatch(/Reading: [\d,]+ of [\d,]+ tokens/);
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("This model is a toy");
  }
  await page.fill("#composer", `3. ${long}`);
  await page.waitForSelector(".too-long");
  await page.click("text=Continue without the oldest turns");
  await page.press("#composer", "Enter");
  await expect.poll(() => page.locator(".message.assistant").count()).toBe(3);
  await answered(page);
  expect(await lastAnswer(page).textContent()).toMatch(/Without the oldest turns: [\d,]+ tokens were not sent/);
  await page.keyboard.press("Alt+i");
  expect(await page.textContent(".receipt")).toMatch(/0 tokens sent, [\d,]+ refused/);
  await page.keyboard.press("Escape");
  expect(opened.complaints).toEqual([]);
});
