/** Documents in the page, over `ouvert serve` itself: files are read in a box, and a very small model cites them. */
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { answered, ask, lastAnswer, openPage, type Opened } from "./chromium";
import { accessibilityFaultsOf } from "./fixture";
import { serveDesk, type Serving } from "./ouvert-serve";

let serving: Serving;
let opened: Opened;
const file = (name: string) => join(serving.home, name);

beforeAll(async () => {
  serving = await serveDesk();
  opened = await openPage(serving.address);
  await opened.page.waitForFunction(() => document.querySelector(".model")?.textContent?.includes("reader"));
});

afterAll(async () => {
  await opened?.close();
  await serving?.stop();
});

const quiet = () => {
  expect(opened.requests.filter((url) => !url.startsWith(serving.address) && !url.startsWith("blob:"))).toEqual([]);
  expect([opened.violations, opened.complaints]).toEqual([[], []]);
};

/** Files come as from the desk of the reader's machine. */
async function drop(names: string[]): Promise<void> {
  const contents = names.map((name) => ({ name, bytes: [...readFileSync(file(name))] }));
  const dropped = await opened.page.evaluateHandle((all) => {
    const transfer = new DataTransfer();
    for (const { name, bytes } of all) transfer.items.add(new File([new Uint8Array(bytes)], name));
    return transfer;
  }, contents);
  await opened.page.dispatchEvent("dialog .collection", "dragover", { dataTransfer: dropped });
  expect(await opened.page.textContent("dialog .collection")).toContain("Drop files here to put them into contracts");
  await opened.page.dispatchEvent("dialog .collection", "drop", { dataTransfer: dropped });
}

test("a collection is made, files are dropped into it, and each says how it was read", async () => {
  const { page } = opened;
  await page.click(".desk button:has-text('Documents')");
  await page.waitForSelector("dialog >> text=There is no collection yet");
  await page.fill("dialog input[name=collection]", "contracts");
  await page.press("dialog input[name=collection]", "Enter");
  await drop(["lease.pdf", "notes.md"]);
  await page.waitForSelector("[aria-label='Open notes.md']");
  expect(await page.textContent(".file-row:has-text('lease.pdf')")).toMatch(/3 pages · 1\.3 kB.*pages that are pictures, and are not read: 2 \(of 3\)/);
  expect(await page.textContent(".file-row:has-text('notes.md')")).toContain("read");
  writeFileSync(file("broken.pdf"), "%PDF-1.4 nothing");
  await page.setInputFiles("dialog .collection input[type=file]", file("broken.pdf"));
  await page.waitForSelector(".file-row:has-text('broken.pdf') >> text=it is damaged, or no PDF");
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  await page.click(".file-row:has-text('broken.pdf') [aria-label=Dismiss]");
  await page.check("[aria-label='Ask contracts in this conversation']");
  await page.keyboard.press("Escape");
  await expect.poll(() => page.getAttribute(".library", "aria-label")).toBe("Documents: contracts");
  expect(opened.complaints.splice(0)).toEqual([expect.stringContaining("422")]); // the browser says it of the broken file
  quiet();
});

test("an answer has chips: one opens the page with the cited words marked, an invented one is called unsupported", async () => {
  const { page } = opened;
  await ask(page, "How much is the deposit?");
  await answered(page);
  const answer = lastAnswer(page);
  expect((await answer.locator(".prose").textContent())?.trim()).toBe("It is 1,250 euro Source 1, not unsupported.");
  expect(await answer.locator(".unsupported").getAttribute("title")).toBe("The model cited a source that does not exist.");
  expect(await answer.locator(".sources").textContent()).toMatch(/lease\.pdf, page 1.*The model read all of it\. 1 citation leads nowhere\./);
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  await answer.locator(".cite").focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("canvas.page-picture:not([hidden])");
  expect(await page.getAttribute("canvas.page-picture", "aria-label")).toMatch(/^Page 1 of lease\.pdf, as a picture\. Marked: The deposit is 1,250 euro/);
  const marked = () =>
    page.evaluate(() => {
      const canvas = document.querySelector<HTMLCanvasElement>("canvas.page-picture");
      const { data = new Uint8ClampedArray() } = canvas?.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height) ?? {};
      let pixels = 0;
      for (let n = 0; n < data.length; n += 4) if (data[n] === 255 && data[n + 1] === 225 && data[n + 2] === 80) pixels += 1;
      return pixels;
    });
  expect(await marked()).toBeGreaterThan(1000);
  await page.click("dialog summary");
  expect(await page.textContent("dialog .page-text mark")).toMatch(/^The deposit is 1,250 euro/);
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  await page.click("[aria-label='Next page']");
  await page.waitForSelector(".scan-note");
  await page.waitForSelector("canvas.page-picture:not([hidden])");
  expect([await page.textContent(".page-turner"), await marked()]).toEqual(["Page 2 of 3", 0]);
  await page.keyboard.press("Escape");
  await expect.poll(() => page.evaluate(() => document.activeElement?.className)).toBe("cite cite-0");
  quiet();
});

test("citations are kept with the conversation, and its text shows the place where there is no picture", async () => {
  const { page } = opened;
  await page.reload();
  await page.waitForSelector(".cite");
  expect(await page.getAttribute(".library", "aria-label")).toBe("Documents: contracts");
  await page.keyboard.press("Alt+o");
  await page.click("[aria-label='Open notes.md']");
  await page.waitForSelector("dialog .page-text");
  expect(await page.textContent("dialog .page-text")).toContain("The key hangs in the cellar.");
  expect(await page.locator("dialog canvas").count()).toBe(0);
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog .collection"); // where it was opened from
  await page.keyboard.press("Escape");
  quiet();
});

test("update reads again, and deleting shows a receipt and leaves no word", async () => {
  const { page } = opened;
  await page.keyboard.press("Alt+o");
  await page.click("[aria-label='Update contracts']");
  await page.waitForSelector("text=0 added, 0 changed, 0 as they were.");
  await page.click("[aria-label='Delete lease.pdf']");
  await page.click("dialog .primary");
  await page.waitForSelector("dialog >> text=Deletion receipt");
  const receipt = await page.textContent("dialog");
  expect(receipt).toMatch(/Removed from contracts.*sha256:.*Pages3.*Passages3.*Kept file1\.3 kB/);
  expect(receipt).toContain("solid-state disk");
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  await page.keyboard.press("Escape");
  await page.waitForSelector("[aria-label='Open notes.md']");
  expect(await page.locator("[aria-label='Open lease.pdf']").count()).toBe(0);
  const folder = join(serving.home, "documents");
  const kept = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => join(folder, name)).filter((name) => statSync(name).isFile());
  expect(kept.length).toBeGreaterThan(2);
  expect(kept.filter((name) => readFileSync(name).includes("AX-4711"))).toEqual([]);
  await page.click("[aria-label='Delete collection contracts']");
  await page.click("dialog .primary");
  await page.waitForSelector("dialog >> text=Deletion receipt");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog >> text=There is no collection yet");
  await page.keyboard.press("Escape");
  expect(await page.getAttribute(".library", "aria-label")).toBe("Documents"); // it asks none any more
  await page.click(".cite");
  await page.waitForSelector("dialog [role=alert] >> text=This collection is not there any more");
  expect(opened.complaints.splice(0)).toEqual([expect.stringContaining("404")]);
  quiet();
});
