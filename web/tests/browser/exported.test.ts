/** A trace as one file, opened from a disk: it asks nobody, complains of nothing, and can be read, used and printed. */
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
import json, sys
from pathlib import Path
from ouvert.inspection.page import page
from ouvert.inspection.saving import page_without_words
samples = Path("tests/inspection/samples")
read = lambda name: json.loads((samples / f"{name}.json").read_text("utf-8"))
views = [read(name) for name in ("confidence", "lens", "attribution")]
Path(sys.argv[1]).write_bytes(page(read("trace"), views))
Path(sys.argv[2]).write_bytes(page(*page_without_words(read("trace"), views)))
`;

let folder: string;
let opened: Opened;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ouvert-exported-"));
  execFileSync(join(ROOT, ".venv/bin/python"), ["-c", MAKE, join(folder, "trace.html"), join(folder, "silent.html")], { cwd: ROOT });
});
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => opened.close());

async function open(look: Look = {}, file = "trace.html") {
  opened = await openPage(pathToFileURL(join(folder, file)).href, look, "[role=grid]");
  return opened.page;
}

function expectQuiet(): void {
  expect(opened.requests).toEqual([pathToFileURL(join(folder, "trace.html")).href]);
  expect(opened.violations).toEqual([]);
  expect(opened.complaints).toEqual([]);
}

test("opens from a disk, with no request beside itself and nothing on the console", async () => {
  const page = await open();
  expect(await page.title()).toBe("Inside smollm2");
  expect(await page.textContent(".exported-head")).toContain("holds the words of a conversation");
  expect(await page.locator(".token").filter({ hasText: "Paris" }).count()).toBeGreaterThan(0);
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  await page.click("[role=tab] >> text=Attention");
  expect(await page.textContent("[role=tabpanel]")).toMatch(/not exported into this file|no view “Attention”/);
  await page.click("[role=tab] >> text=Confidence");
  await page.click("text=As table");
  expect(await page.locator("[role=tabpanel] tbody tr").count()).toBeGreaterThan(10);
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  expectQuiet();
});

test("by keyboard alone, and in the other language at the press of a button", async () => {
  const page = await open({ locale: "fr-FR", dark: true });
  expect(await page.textContent("h1")).toBe("L’intérieur de smollm2");
  await page.focus("[role=gridcell][tabindex='0']");
  await page.keyboard.press("Control+End");
  await expect.poll(() => page.textContent(".readout")).toMatch(/^Après «.*», la couche 2 écrirait/);
  await page.click(".exported-head button");
  expect(await page.getAttribute("html", "lang")).toBe("en");
  expect(await page.textContent(".readout")).toMatch(/^After “.*”, layer 2 would write: /);
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  expectQuiet();
});

test("paper shows the figure whole, and nothing to press", async () => {
  const page = await open();
  await page.emulateMedia({ media: "print" });
  expect(await page.evaluate(() => [...document.querySelectorAll<HTMLElement>(".quiet-button")].filter((each) => each.offsetParent !== null).length)).toBe(0);
  const scroller = await page.evaluate(() => {
    const each = document.querySelector(".grid-scroller");
    return [each?.scrollHeight, each?.clientHeight];
  });
  expect(scroller[0]).toBe(scroller[1]);
  expect((await page.pdf()).length).toBeGreaterThan(10_000);
  expectQuiet();
});

test("without its words a dot stands for each token, and the numbers are there", async () => {
  const page = await open({}, "silent.html");
  expect(await page.textContent(".exported-head")).toContain("not the words");
  expect(await page.textContent("body")).not.toContain("Paris");
  expect(new Set(await page.locator(".token").allTextContents())).toEqual(new Set(["• "]));
  await page.click("[role=tab] >> text=Confidence");
  await page.click(".token >> nth=42"); // the likeliest of its alternatives
  expect(await page.locator(".facts .alternatives .came").allTextContents()).toEqual([expect.stringMatching(/^“•” written\d/)]);
  expect(await page.locator(".facts .alternatives tr").count()).toBe(5);
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  expect([opened.violations, opened.complaints]).toEqual([[], []]);
});
