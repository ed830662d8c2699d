/** Answers as they are written: streamed, stopped, broken off, had again; and what is shown before they begin. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { answered, ask, lastAnswer } from "./chromium";
import { accessibilityFaults, closeAll, expectQuiet, fake, open, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

describe("an answer", () => {
  test("streams, with thoughts folded and timed, and is kept on the server", async () => {
    const page = await open();
    await ask(page, "Write a Python function that finds duplicate files in a folder");
    await page.waitForSelector(".thoughts");
    expect(await page.textContent(".thoughts summary")).toMatch(/Thinking, \d+\s+s/);
    expect(await page.getAttribute(".thoughts", "open")).toBeNull();
    await page.waitForSelector(".prose .code");
    await answered(page);
    expect(await page.textContent(".thoughts summary")).toMatch(/Thought for [\d.]+\ss/);
    expect(await page.textContent(".prose .hljs-keyword >> nth=0")).toBe("import");
    await page.click(".thoughts summary");
    expect(await page.textContent(".thought")).toContain("Group by size first");
    await expect.poll(() => [...fake.conversations.values()][0]?.messages.length).toBe(2);
    await expect.poll(() => [...fake.conversations.values()][0]?.messages[1].receipt?.receipt).toBe(1);
    expect(fake.asked[0]).toMatchObject({ stream: true, reasoning_effort: "medium", model: "gpt-oss:20b" });
    await page.reload();
    await page.waitForSelector(".prose .hljs-keyword");
    expect(await page.textContent(".conversation-title")).toContain("Write a Python function");
    expectQuiet();
  });

  test("stops when told to, at the server too, and keeps what was written", async () => {
    const page = await open();
    await ask(page, "slowly");
    await expect.poll(() => lastAnswer(page).textContent()).toContain("word word");
    await page.keyboard.press("Escape");
    await page.waitForSelector(".ended");
    expect(await page.textContent(".ended")).toContain("Stopped.");
    await expect.poll(() => fake.state.cancelled).toBe(1);
    await expect.poll(() => [...fake.conversations.values()][0]?.messages[1].ended).toBe("cancelled");
    expect([...fake.conversations.values()][0].messages[1].text).toContain("word word");
    expectQuiet();
  });

  test("that went in circles is not said to have reached its length", async () => {
    const page = await open();
    await ask(page, "in circles");
    await page.waitForSelector(".ended");
    expect(await page.textContent(".ended")).toContain("Ended early: the answer went in circles.");
    await page.keyboard.press("Alt+i");
    await page.waitForSelector("dialog[open]");
    expect(await page.textContent("dialog[open]")).toContain("it went in circles");
    expectQuiet();
  });

  test("the choice of models leads its owner to others, and has those that came meanwhile", async () => {
    const page = await open();
    fake.state.models.push({ ...(fake.state.models[0] as object), id: "fetched-meanwhile" });
    await page.keyboard.press("Alt+m");
    await page.getByText("fetched-meanwhile").waitFor();
    await page.getByRole("button", { name: "Fetch and remove models" }).waitFor();
    expectQuiet();
  });

  test("that is cut off or breaks says so", async () => {
    const page = await open();
    await ask(page, "cut off");
    await page.waitForSelector(".ended");
    expect(await page.textContent(".ended")).toContain("Cut off: the maximum answer length was reached.");
    await ask(page, "break");
    await page.waitForSelector(".ended.failed");
    expect(await lastAnswer(page).textContent()).toContain("Half an answ");
    expect(await page.textContent(".ended.failed")).toContain("This answer failed. The server does not answer.");
    expectQuiet([expect.stringContaining("net::ERR_INCOMPLETE_CHUNKED_ENCODING") as unknown as string]);
  });

  test("can be had again, its question reworded, and every version is kept", async () => {
    const page = await open();
    await ask(page, "first wording");
    await answered(page);
    await page.click("[aria-label='Another answer']");
    await page.waitForSelector(".message.assistant .versions");
    await answered(page);
    expect(await page.textContent(".message.assistant .versions span")).toBe("2 of 2");
    await page.hover(".message.user");
    await page.click(".message.user [aria-label=Edit]");
    await page.fill(".editor textarea", "second wording");
    await page.keyboard.press("Enter");
    await expect.poll(() => lastAnswer(page).textContent()).toContain("You said: second wording");
    await answered(page);
    expect(await page.textContent(".message.user .versions span")).toBe("2 of 2");
    await page.click(".message.user [aria-label='Previous version']");
    expect(await lastAnswer(page).textContent()).toContain("You said: first wording");
    expect(await page.textContent(".message.assistant .versions span")).toBe("2 of 2");
    await expect.poll(() => [...fake.conversations.values()][0].messages.length).toBe(5);
    expect(fake.asked.map(({ messages }) => messages.map((each: { content: string }) => each.content))).toEqual([
      ["first wording"], ["first wording"], ["second wording"],
    ]);
    expectQuiet();
  });

  test("goes on while another conversation is read", async () => {
    const page = await open();
    await ask(page, "slowly");
    await page.waitForSelector(".prose");
    await page.keyboard.press("Alt+n");
    await ask(page, "something else");
    await answered(page);
    await page.click(".entry:has-text('slowly') .entry-open");
    await answered(page);
    expect((await page.textContent(".prose"))?.trim().split(/\s+/).length).toBe(400);
    expect(fake.state.cancelled).toBe(0);
    expectQuiet();
  });
});

describe("before an answer begins", () => {
  test("the page says how far a long prompt is read, and how long it takes yet", async () => {
    const page = await open();
    await ask(page, "a long prompt");
    await expect.poll(() => page.textContent(".waiting")).toContain("Reading: 512 of 1,500 tokens, about 8\u00a0s left");
    expect(await page.getAttribute(".waiting progress", "max")).toBe("1500");
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("Read.");
    expectQuiet();
  });

  test("and how far the model is prepared", async () => {
    const page = await open();
    let loaded = (_: unknown) => {};
    fake.state.loaded = new Promise((resolve) => (loaded = resolve));
    await ask(page, "load first");
    await expect.poll(() => page.textContent(".waiting")).toContain("Preparing the model, 37%");
    expect(await accessibilityFaults()).toEqual([]);
    loaded(null);
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("Loaded.");
    expectQuiet();
  });
});

describe("long answers", () => {
  test("stay smooth", async () => {
    const page = await open();
    await page.evaluate(() => {
      const gaps: number[] = [];
      let last = performance.now();
      const tick = () => {
        const now = performance.now();
        gaps.push(now - last);
        last = now;
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
      (globalThis as unknown as { gaps: number[] }).gaps = gaps;
    });
    await ask(page, "very long");
    await answered(page);
    const gaps: number[] = await page.evaluate(() => (globalThis as unknown as { gaps: number[] }).gaps);
    gaps.sort((a, b) => a - b);
    const at = (share: number) => Math.round(gaps[Math.floor(gaps.length * share)] ?? 0);
    console.log(`270,000 characters in ${gaps.length} frames; between frames: median ${at(0.5)} ms, 95 % ${at(0.95)} ms, longest ${at(0.9999)} ms`);
    expect(await page.locator(".prose .block").count()).toBeGreaterThan(1400);
    const end = await page.evaluate(() => {
      const scroller = document.querySelector(".scroller");
      return scroller ? scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight : NaN;
    });
    expect(end).toBeLessThan(80);
    expectQuiet();
  });
});
