/** From a wrong answer to data in one step: corrected in the page over `ouvert serve`, read by `ouvert tune check`. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { answered, ask, lastAnswer, openPage, type Opened } from "./chromium";
import { OUVERT, serve, smollm2, type Serving } from "./ouvert-serve";

let serving: Serving;
let opened: Opened;

beforeAll(async () => {
  serving = await serve(smollm2());
}, 300_000);

afterAll(async () => {
  await opened?.close();
  await serving.stop();
});

test("an answer that is corrected is what a model would learn, behind the prompt that it answered", async () => {
  opened = await openPage(serving.address);
  const { page } = opened;
  await page.keyboard.press("Alt+Comma");
  await page.fill("#number-max_tokens", "20");
  await page.fill("#number-temperature", "0");
  await page.keyboard.press("Escape");
  await ask(page, "How far is the next village?");
  await answered(page);
  const given = await lastAnswer(page).locator(".prose").textContent();
  await page.click("[aria-label='Correct this answer']");
  await page.fill(".correction textarea", "Two hours on foot.");
  await page.click(".correction .primary");
  await page.waitForSelector("text=The correction is kept on this machine.");

  const folder = join(serving.home, "corrections");
  const [file = ""] = readdirSync(folder);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
  const kept = JSON.parse(readFileSync(join(folder, file), "utf8")) as { wanted: string; given: string; receipt: string };
  expect(kept.wanted).toBe("Two hours on foot.");
  expect(kept.given.trim()).toBeTruthy();
  expect(given).toContain(kept.given.trim().slice(0, 10));
  expect(kept.receipt).toMatch(/^sha256:/);

  const env = { ...process.env, OUVERT_HOME: serving.home };
  const said = execFileSync(OUVERT, ["tune", "check", "corrections", "--model", smollm2(), "--json"], { encoding: "utf8", env });
  const { counts, examples } = JSON.parse(said) as { counts: { rows: number }; examples: { line: number; pieces: { text: string; trained: boolean }[] }[] };
  expect(counts.rows).toBe(1);
  const pieces = examples.find((each) => each.line === 1)?.pieces ?? [];
  expect(pieces.map((each) => each.trained)).toEqual([false, true]);
  expect(pieces[0]?.text).toContain("<|im_start|>user\nHow far is the next village?<|im_end|>\n<|im_start|>assistant\n");
  expect(pieces[1]?.text).toBe("Two hours on foot.<|im_end|>");

  expect(opened.requests.filter((url) => !url.startsWith(serving.address))).toEqual([]);
  expect(opened.violations).toEqual([]);
  expect(opened.complaints).toEqual([]);
});
