/** Light, dark, narrow, and in French. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { answered, ask } from "./chromium";
import { accessibilityFaults, closeAll, expectQuiet, open, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

describe("how it looks", () => {
  const question = "Write a Python function that finds duplicate files in a folder";

  test("light, with a receipt one click away that says what left", async () => {
    const page = await open();
    await ask(page, question);
    await answered(page);
    await page.click("text=Receipt");
    expect(await page.textContent(".left.nothing p")).toBe("What left this machine: nothing.");
    expect(await page.locator(".left dd").allTextContents()).toEqual(["0", "0", "0"]);
    await page.keyboard.press("Escape");
    await page.keyboard.press("Alt+m");
    await page.waitForSelector(".choice");
    expectQuiet();
  });

  test("dark", async () => {
    const page = await open({ dark: true });
    await ask(page, question);
    await answered(page);
    expect(await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)).toBe("rgb(22, 26, 28)");
    expect(await accessibilityFaults()).toEqual([]);
    expectQuiet();
  });

  test("narrow: nothing is wider than the screen, conversations slide over", async () => {
    const page = await open({ width: 390, height: 780 });
    await ask(page, question);
    await answered(page);
    await expect.poll(() => page.textContent("#context")).toContain("of 2,000 tokens");
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
    await page.click("[aria-label='Show conversations']");
    await page.waitForSelector(".entry");
    expect(await accessibilityFaults()).toEqual([]);
    await page.click(".entry-open");
    await expect.poll(() => page.isVisible(".sidebar")).toBe(false);
    expectQuiet();
  });

  test("French, to the last word", async () => {
    const page = await open({ locale: "fr-FR" });
    expect(await page.getAttribute("html", "lang")).toBe("fr");
    expect(await page.textContent(".welcome h2")).toBe("Que puis-je faire pour vous\u202f?");
    await ask(page, "think");
    await answered(page);
    await page.click("text=Reçu");
    expect(await page.textContent(".receipt")).toContain("Terminée normalement");
    expect(await page.textContent(".left.nothing p")).toBe("Données sorties de cette machine\u202f: aucune.");
    expect(await accessibilityFaults()).toEqual([]);
    await page.keyboard.press("Escape");
    await page.keyboard.press("Alt+Comma");
    await page.fill("#number-top_p", "3");
    expect(await page.textContent("#number-top_p-hint")).toBe("entre 0,01 et 1");
    await page.fill("#number-top_p", "0,9");
    await page.keyboard.press("Escape");
    await ask(page, "over the limit");
    await page.waitForSelector(".ended.failed");
    expect((await page.textContent(".ended.failed"))?.replace(/\s/g, " ")).toContain("La réponse a échoué. Cette conversation compte 9 001 jetons, et le modèle en admet 2 000");
    await page.keyboard.press("Control+/");
    expect(await page.locator("kbd").allTextContents()).toEqual(expect.arrayContaining(["Entrée", "Maj", "Échap"]));
    await page.keyboard.press("Escape");
    await page.keyboard.press("Alt+Comma");
    await page.click(".segments label:has-text('English')");
    expect(await page.textContent("dialog h2")).toBe("Settings");
    expectQuiet([expect.stringContaining("400 (Bad Request)") as unknown as string]);
  });
});
