/** The report of a comparison as one file, opened from a disk: two languages without a script, read, printed, by keyboard. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { openPage, type Look, type Opened } from "./chromium";
import { accessibilityFaultsOf } from "./fixture";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const MAKE = `
import sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.evaluation.report.made_up import material
from ouvert.evaluation.report.write import files
Path(sys.argv[1]).write_text(files(material(), "en")["report.html"], encoding="utf-8")
`;

let folder: string;
let opened: Opened;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ouvert-report-"));
  execFileSync(join(ROOT, ".venv/bin/python"), ["-c", MAKE, join(folder, "report.html")], { cwd: ROOT });
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => opened.close());

async function open(look: Look = {}) {
  opened = await openPage(pathToFileURL(join(folder, "report.html")).href, look, "#found");
  return opened.page;
}

function expectQuiet(): void {
  expect(opened.requests).toEqual([pathToFileURL(join(folder, "report.html")).href]);
  expect(opened.violations).toEqual([]);
  expect(opened.complaints).toEqual([]);
}

test("opens from a disk, asks nobody, and hostile answers do nothing", async () => {
  const page = await open();
  expect(await page.title()).toContain("compared");
  expect(await page.locator("#found .lead").count()).toBe(3);
  for (const details of await page.locator("details").all()) await details.evaluate((each: HTMLDetailsElement) => (each.open = true));
  expect(await page.locator("pre").first().isVisible()).toBe(true);
  expect(await page.locator("#reproduce").isVisible()).toBe(true); // no style that an answer brought hides the page
  expect(await page.locator("script, iframe, pre *:not(mark, i, i span)").count()).toBe(0);
  expectQuiet();
});

test("by keyboard alone in the other language, light and dark, with nothing that axe objects to", async () => {
  for (const dark of [false, true]) {
    const page = await open({ dark });
    await page.keyboard.press("Tab");
    await page.keyboard.press("ArrowRight");
    expect(await page.locator("h2 [lang=fr]").first().isVisible()).toBe(true);
    expect(await page.locator("h2 [lang=en]").first().isVisible()).toBe(false);
    expect(await accessibilityFaultsOf(opened)).toEqual([]);
    expectQuiet();
    if (!dark) await opened.close();
  }
});

test("fits a telephone, and its links lead to their evidence", async () => {
  const page = await open({ width: 360, height: 720 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  await page.emulateMedia({ reducedMotion: "reduce" }); // it jumps, where it would glide
  await page.locator("#found .lead a:visible").first().click();
  const target = new URL(page.url()).hash;
  expect(await page.locator(target).evaluate((each) => each.getBoundingClientRect().top)).toBeLessThan(720);
  expectQuiet();
});

test("prints what a click opens, without the switch, and nothing wider than the paper", async () => {
  const page = await open({ width: 680 }); // what A4 has between its margins
  await page.emulateMedia({ media: "print" });
  expect(await page.locator("main > label").first().isVisible()).toBe(false);
  expect(await page.locator("details .short").first().isVisible()).toBe(true);
  const wide = await page.locator("table, svg, pre, .card").evaluateAll((all) => all.filter((each) => each.getBoundingClientRect().right > 681).length);
  expect(wide).toBe(0);
  expect((await page.pdf({ format: "A4" })).length).toBeGreaterThan(50_000);
  expectQuiet();
});
