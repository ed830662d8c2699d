/** For everyone: by keyboard, by screen reader, with an input method, enlarged, on paper. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { answered, ask } from "./chromium";
import { accessibilityFaults, closeAll, expectQuiet, fake, focused, open, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

describe("everyone", () => {
  test("an input method's Enter and Escape are its own, in Safari's order of events too", async () => {
    const page = await open();
    const press = (at: string, key: string, isComposing: boolean) =>
      page.evaluate(
        ([selector, name, composing]) =>
          document.querySelector(selector as string)?.dispatchEvent(
            new KeyboardEvent("keydown", { key: name as string, code: name as string, keyCode: 229, which: 229, isComposing: composing as boolean, bubbles: true, cancelable: true }),
          ),
        [at, key, isComposing] as const,
      );
    await page.fill("#composer", "にほん");
    await page.waitForSelector("button[type=submit]:enabled");
    for (const isComposing of [true, false]) await press("#composer", "Enter", isComposing);
    expect(fake.asked).toEqual([]);
    await page.press("#composer", "Enter");
    await answered(page);
    expect(fake.asked.length).toBe(1);
    await page.keyboard.press("ArrowUp");
    await page.waitForSelector(".editor textarea");
    for (const isComposing of [true, false]) for (const key of ["Enter", "Escape"]) await press(".editor textarea", key, isComposing);
    expect(await page.locator(".editor").count()).toBe(1);
    expect(fake.asked.length).toBe(1);
    expectQuiet();
  });

  test("dialogs begin where something is to be typed or chosen, and give the focus back to the message box", async () => {
    const page = await open();
    await page.keyboard.press("Alt+m");
    await expect.poll(() => page.evaluate(() => (document.activeElement as HTMLInputElement).checked)).toBe(true);
    await page.keyboard.press("ArrowDown");
    await expect.poll(() => page.textContent(".model")).toContain("qwen3-8b");
    await page.keyboard.press("Escape");
    await expect.poll(focused).toBe("composer");
    await page.keyboard.press("Alt+m");
    await expect.poll(() => page.evaluate(() => document.activeElement?.closest(".choice")?.textContent)).toContain("qwen3-8b"); // not the first
    await page.keyboard.press("Escape");
    await expect.poll(focused).toBe("composer");
    await page.keyboard.press("Alt+,");
    await expect.poll(focused).toBe("instructions");
    await page.keyboard.press("Escape");
    await ask(page, "slowly");
    await page.click("[aria-label=Stop]");
    await page.waitForSelector(".ended");
    expect(await focused()).toBe("composer");
    expectQuiet();
  });

  test("settings at 200 % on a small screen: all of it is reached by keyboard, and scrolls in one place", async () => {
    const page = await open({ width: 640, height: 400 });
    await ask(page, "hello");
    await answered(page);
    for (const [shortcut, last] of [["Alt+Comma", "Delete all conversations"], ["Alt+i", "Download"], ["Alt+m", undefined]] as const) {
      await page.keyboard.press(shortcut);
      await page.waitForSelector("dialog");
      const scrolled = await page.evaluate(() =>
        [...document.querySelectorAll("dialog, dialog *")]
          .filter((each) => each.tagName !== "TEXTAREA" && each.scrollHeight > each.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(each).overflowY))
          .map((each) => each.className),
      );
      expect(scrolled.filter((name) => !name.startsWith("sheet "))).toEqual([]);
      expect(await page.evaluate(() => (document.querySelector("dialog")?.scrollWidth ?? 0) <= 640)).toBe(true);
      for (let n = 0; last && n < 60 && (await focused()) !== last; n += 1) await page.keyboard.press("Tab");
      if (last) {
        expect(await focused()).toBe(last);
        const inView = await page.evaluate(() => {
          const place = document.activeElement?.getBoundingClientRect();
          return place !== undefined && place.top >= 0 && place.bottom <= innerHeight;
        });
        expect(inView).toBe(true);
      }
      await page.keyboard.press("Escape");
      await page.waitForSelector("dialog", { state: "detached" });
    }
    expectQuiet();
  });

  test("paper shows the whole conversation, and nothing to press", async () => {
    const page = await open({ dark: true });
    for (let n = 0; n < 6; n += 1) {
      await ask(page, `question ${n}\n${"and a line of it\n".repeat(30)}`);
      await expect.poll(() => page.locator(".message.assistant .tools").count()).toBe(n + 1);
    }
    const pages = (await page.pdf()).toString("latin1").match(/\/Type\s*\/Page\b/g) ?? [];
    expect(pages.length).toBeGreaterThanOrEqual(3); // 180 lines and six answers
    await page.emulateMedia({ media: "print" });
    await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
    const shown = await page.evaluate(() => ({
      hidden: ["#composer", ".sidebar", ".tools"].filter((at) => (document.querySelector(at) as HTMLElement).offsetParent !== null),
      questions: [...document.querySelectorAll<HTMLElement>(".said")].filter((each) => each.checkVisibility()).length,
      isWhole: (document.querySelector(".scroller")?.scrollHeight ?? 1) === (document.querySelector(".scroller")?.clientHeight ?? 0),
    }));
    expect(shown).toEqual({ hidden: [], questions: 6, isWhole: true });
    await page.evaluate(() => dispatchEvent(new Event("afterprint")));
    expect(await page.locator("details.long[open]").count()).toBe(0);
    expectQuiet();
  });

  test("keyboard alone: send, edit, stop, receipt, model, shortcuts", async () => {
    const page = await open();
    await expect.poll(focused).toBe("composer"); // from the first moment
    await page.focus(".skip");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("composer");
    await page.keyboard.type("hello");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("there");
    await page.waitForSelector("button[type=submit]:enabled");
    await page.keyboard.press("Enter");
    await answered(page);
    expect(fake.asked[0].messages[0].content).toBe("hello\nthere");
    await page.keyboard.press("Alt+i");
    await page.waitForSelector("dialog .receipt");
    await page.keyboard.press("Escape");
    await page.waitForSelector("dialog", { state: "detached" });
    await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("composer"); // the next frame
    await page.keyboard.press("ArrowUp");
    await page.waitForSelector(".editor textarea");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Control+/");
    await page.waitForSelector(".shortcuts");
    expect(await accessibilityFaults()).toEqual([]);
    await page.keyboard.press("Escape");
    await page.keyboard.press("Alt+r");
    await page.waitForSelector(".versions");
    expectQuiet();
  });

  test("screen readers: answers are announced, messages named, no fault that axe finds", async () => {
    const page = await open();
    expect(await accessibilityFaults()).toEqual([]);
    await ask(page, "Write a Python function, and think");
    await expect.poll(() => page.textContent("[role=status].off-screen")).toBe("The model is thinking.");
    await answered(page);
    expect(await page.textContent("[role=status].off-screen")).toMatch(/Answer complete, \d+ words\./);
    expect(await page.locator("article").evaluateAll((all) => all.map((each) => each.getAttribute("aria-label")))).toEqual(["You", "gpt-oss:20b"]);
    expect(await accessibilityFaults()).toEqual([]);
    for (const shortcut of ["Alt+i", "Alt+m", "Alt+Comma"]) {
      await page.keyboard.press(shortcut);
      await page.waitForSelector("dialog");
      expect(await accessibilityFaults()).toEqual([]);
      await page.keyboard.press("Escape");
      await page.waitForSelector("dialog", { state: "detached" });
    }
    expectQuiet();
  });
});
