/** What a hostile model writes does nothing. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { answered, ask, lastAnswer } from "./chromium";
import { closeAll, expectQuiet, open, opened, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

describe("hostile content", () => {
  test("does nothing, loads nothing and is shown as text", async () => {
    const page = await open();
    await ask(page, "hostile <img src=x onerror=window.pwned=10>");
    await answered(page);
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))); // what would run has run
    expect(await page.evaluate(() => (globalThis as { pwned?: number }).pwned)).toBeUndefined();
    expect(await page.locator(".messages img, .prose img, .prose iframe, .prose form, .prose svg, .prose script").count()).toBe(0);
    expect(await lastAnswer(page).textContent()).toContain("<script>window.pwned = 1</script>");
    expect(await lastAnswer(page).textContent()).toContain("Image not loaded: https://tracker.test/b.png?secret=1");
    expectQuiet();
    await page.click("a:has-text('fine')");
    expect(await page.textContent("dialog .address")).toBe("https://example.org/?q=everything");
    await page.keyboard.press("Escape");
    expect(opened.context.pages().length).toBe(1);
    expectQuiet();
  });

  test("the policy would stop a script even if one came through", async () => {
    const page = await open();
    const ran = await page.evaluate(async () => {
      const results: string[] = [];
      try {
        document.body.innerHTML += "<img src=x onerror='window.pwned = 1'>";
        results.push("innerHTML");
      } catch {
        results.push("refused");
      }
      const image = new Image();
      const blocked = new Promise<string>((done) => {
        image.onload = () => done("loaded");
        image.onerror = () => done("refused");
      });
      image.src = "https://tracker.test/x.png";
      results.push(await blocked);
      results.push(await fetch("https://tracker.test/").then(() => "fetched", () => "refused"));
      return results;
    });
    expect(ran).toEqual(["refused", "refused", "refused"]);
    const violated = () => [...new Set(opened.violations.map((each) => each.split(":")[0]))].sort();
    await expect.poll(violated).toEqual(["connect-src", "img-src", "require-trusted-types-for"]);
    opened.violations.length = 0; // these were asked for
  });
});
