/** Documents: attached, pasted, refused, cut. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CONTEXT } from "../../dev/fake-answers.mjs";
import { answered, ask } from "./chromium";
import { closeAll, expectQuiet, fake, open, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

describe("documents", () => {
  test("are attached, counted exactly, and cut to what fits only when asked", async () => {
    const page = await open();
    const text = "A line of a report that goes on. ".repeat(400);
    await page.setInputFiles("input[type=file]", { name: "report.txt", mimeType: "text/plain", buffer: Buffer.from(text) });
    await page.fill("#composer", "Summarise this");
    await page.waitForSelector(".too-long");
    expect(await page.textContent(".chip")).toContain("report.txt");
    const needed = Number(/([\d,]+) of/.exec((await page.textContent("#context")) ?? "")?.[1]?.replace(",", ""));
    expect(needed).toBeGreaterThan(CONTEXT);
    expect(await page.textContent(".too-long")).toContain(`${(needed - CONTEXT + 1).toLocaleString("en-US")} tokens too many`);
    expect(await page.isDisabled("button[type=submit]")).toBe(true);
    await page.click("text=Keep only the beginning");
    await page.waitForSelector("button[type=submit]:enabled");
    expect(await page.textContent(".notice")).toMatch(/Only the first [\d,]+ of 13,200 characters of report.txt will be sent/);
    await page.press("#composer", "Enter");
    await answered(page);
    const sent: string = fake.asked[0].messages[0].content;
    expect(sent).toMatch(/^<document name="report.txt">\nA line of a report/);
    expect(sent).toContain("[Cut here by the user: only the first");
    expect(sent).toMatch(/<\/document>\n\nSummarise this$/);
    expectQuiet();
  });

  test("long pastes become documents; what is no text is refused by name", async () => {
    const page = await open();
    await page.evaluate((text) => navigator.clipboard.writeText(text), "pasted ".repeat(1000));
    await page.focus("#composer");
    await page.keyboard.press("Control+V");
    await page.waitForSelector(".chip");
    expect(await page.textContent(".chip")).toContain("Pasted text");
    await page.setInputFiles("input[type=file]", { name: "photo.png", mimeType: "image/png", buffer: Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1]) });
    await page.waitForSelector(".notice.failed");
    expect(await page.textContent(".notice")).toContain("photo.png is not a text file");
    expectQuiet();
  });

  test("PDF and Office files are sent on to collections; a CSV in Windows-1252 is read", async () => {
    const page = await open();
    await page.setInputFiles("input[type=file]", { name: "report.pdf", mimeType: "application/pdf", buffer: Buffer.from("%PDF-1.7\n\x80\x81\x82", "latin1") });
    await expect.poll(() => page.textContent(".notice")).toContain("report.pdf is not attached: PDF files are read in collections.");
    await page.setInputFiles("input[type=file]", { name: "table.xlsx", mimeType: "", buffer: Buffer.from([0x50, 0x4b, 3, 4, 0, 0xff]) });
    await expect.poll(() => page.textContent(".notice")).toContain("XLSX files are read in collections");
    await page.setInputFiles("input[type=file]", { name: "prix.csv", mimeType: "text/csv", buffer: Buffer.from("Pr\xe9nom;No\xebl;3 \x80", "latin1") });
    await page.waitForSelector(".chip:has-text('prix.csv')");
    expect(await page.textContent(".notice")).toContain("It was read as Windows-1252");
    await ask(page, "Total?");
    await answered(page);
    expect(fake.asked[0].messages[0].content).toContain("Prénom;Noël;3 €");
    expectQuiet();
  });
});
