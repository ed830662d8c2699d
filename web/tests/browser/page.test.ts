/** The built page in a real browser, over the stand-in server. */
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { CONTEXT, makeFakeServer } from "../../dev/fake-server.mjs";
import { answered, ask, lastAnswer, openPage, type Look, type Opened } from "./chromium";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let fake: ReturnType<typeof makeFakeServer>;
let address: string;
let opened: Opened;

async function serve(options = {}): Promise<void> {
  fake = makeFakeServer(options);
  await new Promise<void>((done) => fake.server.listen(0, "127.0.0.1", done));
  address = `http://127.0.0.1:${(fake.server.address() as AddressInfo).port}/`;
}

async function open(look: Look = {}): Promise<Opened["page"]> {
  opened = await openPage(address, look);
  await opened.page.waitForFunction(() => document.querySelector(".model")?.textContent?.includes("gpt-oss"));
  return opened.page;
}

const focused = () => opened.page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent || (document.activeElement as HTMLInputElement | null)?.name);

/** Everything that must hold of every test here, whatever it did. */
function expectQuiet(complaints: string[] = []): void {
  expect(opened.requests.filter((url) => !url.startsWith(address) && !url.startsWith("blob:"))).toEqual([]);
  expect(opened.violations).toEqual([]);
  expect(opened.complaints).toEqual(complaints);
}

async function accessibilityFaults(): Promise<string[]> {
  const { page } = opened;
  if (!(await page.evaluate(() => "axe" in globalThis))) {
    // Through the debugger, which the page's policy does not bind.
    const session = await page.context().newCDPSession(page);
    await session.send("Runtime.evaluate", { expression: AXE });
  }
  return page.evaluate(async () => {
    await Promise.all(document.getAnimations().filter((each) => each.effect?.getTiming().iterations === 1).map((each) => each.finished)); // colours on their way are nobody's
    const { axe } = globalThis as unknown as { axe: { run: (options: object) => Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> } };
    const { violations } = await axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 160)} (${node.failureSummary})`));
  });
}

beforeEach(() => serve());
afterEach(async () => {
  await opened.close();
  fake.server.closeAllConnections();
  await new Promise((done) => fake.server.close(done));
});

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

  test("the choice of models says how to get others, and has those that came meanwhile", async () => {
    const page = await open();
    fake.state.models.push({ ...(fake.state.models[0] as object), id: "fetched-meanwhile" });
    await page.keyboard.press("Alt+m");
    await page.getByText("fetched-meanwhile").waitFor();
    expect(await page.textContent("dialog[open]")).toContain("ouvert pull NAME");
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

describe("honesty", () => {
  test("a toy is called one where it is chosen, at the top and under its answers; no answer is beyond doubt", async () => {
    const page = await open();
    await ask(page, "hello");
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("This answer may be wrong.");
    expect(await page.locator(".honest").count()).toBe(0);
    await page.keyboard.press("Alt+n");
    await page.keyboard.press("Alt+m");
    expect(await page.textContent(".choice:has-text('smollm2')")).toContain("A toy: answers are often wrong");
    await page.click(".choice:has-text('smollm2')");
    expect(await page.textContent(".honest")).toContain("smollm2 is a toy: its answers are often wrong");
    expect(await page.textContent(".welcome")).not.toMatch(/vaccine|doctor|medic/i);
    await ask(page, "hello");
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("This model is a toy: its answers are often wrong.");
    expect(await accessibilityFaults()).toEqual([]);
    expectQuiet();
  });

  test("an answer that the server or the page lost is shown as cut, in the export too", async () => {
    const page = await open();
    await ask(page, "slowly");
    await expect.poll(() => lastAnswer(page).textContent()).toContain("word word");
    await expect.poll(() => [...fake.conversations.values()][0]?.messages[1]?.text ?? "", { timeout: 20_000 }).toContain("word"); // saved on the way
    await page.reload();
    await page.waitForSelector(".ended");
    expect(await page.textContent(".ended")).toContain("This answer is not complete.");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("[aria-label='Export as Markdown']")]);
    expect(readFileSync(await download.path(), "utf8")).toContain("*This answer is not complete.");
    expectQuiet();
  });
});

describe("what is promised", () => {
  async function reopen(options: { openedFrom?: string; guest?: boolean }): Promise<Opened["page"]> {
    fake.server.closeAllConnections();
    await new Promise((done) => fake.server.close(done));
    await serve(options);
    return open();
  }

  test("depends on where the page is opened, as the server sees it", async () => {
    let page = await open();
    expect(await page.textContent(".tagline")).toBe("An open model, on your machine. Nothing leaves it.");
    await opened.close();
    page = await reopen({ openedFrom: "network_plain" });
    expect(await page.textContent(".tagline")).toContain("travels there unencrypted: others on the network can read it.");
    await opened.close();
    page = await reopen({ openedFrom: "unknown" });
    expect(await page.textContent(".tagline")).toBe("An open model on 127.0.0.1.");
    expect(await page.textContent(".welcome")).not.toContain("stays here");
    expectQuiet();
  });

  test("without a key another user of the machine may talk, and is told that nothing is kept", async () => {
    const page = await reopen({ guest: true, openedFrom: "unknown" });
    expect(await page.textContent(".sidebar")).toContain("what you write here is not kept");
    await ask(page, "hello");
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("You said: hello");
    expect(await page.locator("dialog, .notice").count()).toBe(0);
    expect(fake.conversations.size).toBe(0);
    await page.click("text=Enter a key");
    await page.waitForSelector("dialog input[type=password]");
    expect(await accessibilityFaults()).toEqual([]);
    expectQuiet();
  });
});

describe("a conversation that fills the context", () => {
  const LONG = "A line of a report that goes on. ".repeat(200);

  async function fill(): Promise<Opened["page"]> {
    const page = await open();
    await ask(page, LONG);
    await answered(page);
    await page.fill("#composer", LONG);
    await page.waitForSelector(".too-long");
    expect(await page.isDisabled("button[type=submit]")).toBe(true);
    return page;
  }

  test("does not say that leaving out helps where one message is too long by itself", async () => {
    const page = await fill();
    await page.click("text=Continue without the oldest turns");
    await page.fill("#composer", "over the limit");
    await page.press("#composer", "Enter");
    await page.waitForSelector(".ended.failed");
    expect(await page.textContent(".ended.failed")).toContain("too long by itself");
    expect(await page.textContent(".ended.failed")).toContain("Send a part of it.");
    expectQuiet([expect.stringContaining("400 (Bad Request)") as unknown as string]);
  });

  test("goes on without its oldest turns, if that is wished, and the receipt says so", async () => {
    const page = await fill();
    await page.click("text=Continue without the oldest turns");
    expect(await page.textContent(".too-long")).toContain("The oldest turns will not be sent.");
    expect(await accessibilityFaults()).toEqual([]);
    await page.press("#composer", "Enter");
    await expect.poll(() => page.locator(".message.assistant").count()).toBe(2);
    await answered(page);
    expect(fake.asked.map(({ ouvert }) => ouvert.truncation)).toEqual([undefined, "auto"]);
    expect(await lastAnswer(page).textContent()).toMatch(/Without the oldest turns: [\d,]+ tokens were not sent/);
    await page.click("text=Leave nothing out");
    await page.keyboard.press("Alt+n");
    await ask(page, "hello");
    await answered(page);
    expect(fake.asked[2].ouvert).not.toHaveProperty("truncation"); // it is this conversation's alone
    expectQuiet();
  });

  test("goes on in a new one with a summary, and what was typed is not lost", async () => {
    const page = await fill();
    await page.click("text=New conversation with a summary");
    await page.waitForSelector(".chip:has-text('Summary of')");
    expect(await page.inputValue("#composer")).toBe(LONG);
    await page.fill("#composer", "Go on.");
    await page.waitForSelector("button[type=submit]:enabled");
    await page.press("#composer", "Enter");
    await answered(page);
    expect(fake.asked[1].messages.at(-1).content).toContain("Summarise our conversation");
    expect(fake.asked[1].ouvert.truncation).toBe("auto");
    expect(fake.asked[2].messages).toEqual([{ role: "user", content: expect.stringContaining("They talked about otters.\n</document>\n\nGo on.") }]);
    await expect.poll(() => fake.conversations.size).toBe(2);
    expectQuiet();
  });
});

describe("hostile content", () => {
  test("does nothing, loads nothing and is shown as text", async () => {
    const page = await open();
    await ask(page, "hostile <img src=x onerror=window.pwned=10>");
    await answered(page);
    await page.waitForTimeout(500);
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

  test("PDF and Office files are said to come; a CSV in Windows-1252 is read", async () => {
    const page = await open();
    await page.setInputFiles("input[type=file]", { name: "report.pdf", mimeType: "application/pdf", buffer: Buffer.from("%PDF-1.7\n\x80\x81\x82", "latin1") });
    await expect.poll(() => page.textContent(".notice")).toContain("report.pdf cannot be read yet: PDF files come with a later version.");
    await page.setInputFiles("input[type=file]", { name: "table.xlsx", mimeType: "", buffer: Buffer.from([0x50, 0x4b, 3, 4, 0, 0xff]) });
    await expect.poll(() => page.textContent(".notice")).toContain("XLSX files come with a later version");
    await page.setInputFiles("input[type=file]", { name: "prix.csv", mimeType: "text/csv", buffer: Buffer.from("Pr\xe9nom;No\xebl;3 \x80", "latin1") });
    await page.waitForSelector(".chip:has-text('prix.csv')");
    expect(await page.textContent(".notice")).toContain("It was read as Windows-1252");
    await ask(page, "Total?");
    await answered(page);
    expect(fake.asked[0].messages[0].content).toContain("Prénom;Noël;3 €");
    expectQuiet();
  });
});

describe("conversations", () => {
  test("are searched, renamed, exported, deleted", async () => {
    const page = await open();
    for (const text of ["about otters", "about herons"]) {
      await page.keyboard.press("Alt+n");
      await ask(page, text);
      await answered(page);
    }
    await page.waitForSelector(".entry >> nth=1");
    await page.keyboard.press("Control+k");
    await page.keyboard.type("otters");
    expect(await page.inputValue("#search")).toBe("otters"); // from the first letter on
    await expect.poll(() => page.locator(".entry").count()).toBe(1);
    expect(await page.textContent(".excerpt")).toContain("otters");
    await page.hover(".entry");
    await page.click(".entry [aria-label^=Rename]");
    await page.waitForSelector("dialog input");
    await page.keyboard.type("Rivers"); // the field has the focus, and all of the old title is selected
    await page.keyboard.press("Enter");
    await page.fill("#search", "");
    await page.waitForSelector(".entry:has-text('Rivers')");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("[aria-label='Export as Markdown']")]);
    expect(download.suggestedFilename()).toBe("about herons.md");
    await page.hover(".entry:has-text('Rivers')");
    await page.click(".entry:has-text('Rivers') [aria-label^=Delete]");
    await expect.poll(focused).toBe("Cancel"); // Enter alone deletes nothing
    const look = (name: string) => page.evaluate((at) => getComputedStyle(document.querySelector(at) ?? document.body).backgroundColor, name);
    expect(await look("dialog .primary")).toBe("rgb(163, 38, 29)");
    await page.click("dialog .primary");
    await expect.poll(() => [...fake.conversations.values()].map(({ title }) => title)).toEqual(["about herons"]);
    expectQuiet();
  });

  test("of two windows are merged", async () => {
    const page = await open();
    await ask(page, "from the first window");
    await answered(page);
    await expect.poll(() => [...fake.conversations.values()][0]?.messages[1].receipt).toBeTruthy();
    const second = await opened.context.newPage();
    await second.goto(page.url());
    await second.bringToFront();
    await second.waitForSelector(".message.assistant .tools");
    await ask(second, "from the second window");
    await expect.poll(() => lastAnswer(second).textContent()).toContain("second window");
    await expect.poll(() => [...fake.conversations.values()][0].messages.length).toBe(4);
    await page.bringToFront();
    await ask(page, "from the first window again");
    await expect.poll(() => [...fake.conversations.values()][0].messages.length).toBe(6);
    expect(await page.textContent(".notice")).toContain("both versions were kept");
    expectQuiet(["Failed to load resource: the server responded with a status of 409 (Conflict)"]);
  });

  test("of a server with a key are shown once the key is given", async () => {
    fake.server.closeAllConnections();
    await new Promise((done) => fake.server.close(done));
    await serve({ key: "secret" });
    opened = await openPage(address);
    const { page } = opened;
    await page.waitForSelector("dialog input[type=password]");
    await page.keyboard.type("secret");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector(".model")?.textContent?.includes("gpt-oss"));
    await ask(page, "hello");
    await answered(page);
    expect(await lastAnswer(page).textContent()).toContain("You said: hello");
    expectQuiet();
  });
});

describe("settings", () => {
  test("are sent as they were set, and nothing is sent that was not", async () => {
    const page = await open();
    await page.keyboard.press("Alt+Comma");
    await page.fill("#system-prompt", "Answer in verse.");
    await page.fill("#number-temperature", "0,2");
    await page.fill("#number-seed", "7");
    await page.fill("#number-top_p", "3");
    expect(await page.textContent("#number-top_p-hint")).toBe("between 0.01 and 1");
    await page.keyboard.press("Escape");
    await page.click(".effort label:has-text('High')");
    await ask(page, "hello");
    await answered(page);
    expect(fake.asked[0]).toMatchObject({ temperature: 0.2, seed: 7, reasoning_effort: "high" });
    expect(fake.asked[0]).not.toHaveProperty("top_p");
    expect(fake.asked[0].messages[0]).toEqual({ role: "system", content: "Answer in verse." });
    await page.keyboard.press("Alt+m");
    await page.click(".choice:has-text('smollm2')");
    await page.waitForSelector("dialog", { state: "detached" });
    await expect.poll(() => page.locator(".effort").count()).toBe(0);
    await ask(page, "again");
    await answered(page);
    expect(fake.asked[1].model).toBe("smollm2");
    expect(fake.asked[1]).not.toHaveProperty("reasoning_effort");
    expectQuiet();
  });
});

describe("instructions and presets", () => {
  test("hold for all conversations, or under a name for any", async () => {
    const page = await open();
    await page.keyboard.press("Alt+Comma");
    await expect.poll(focused).toBe("instructions");
    await page.keyboard.type("Answer in verse.");
    await page.fill("#system-prompt", "Be brief.");
    await page.fill("#number-temperature", "0.2");
    await page.fill("[aria-label='Name of a preset']", "Short verse");
    await page.click("text=Keep as preset");
    await page.keyboard.press("Escape");
    await ask(page, "first");
    await answered(page);
    await page.keyboard.press("Alt+n");
    await page.keyboard.press("Alt+Comma");
    await page.fill("#number-temperature", "");
    await page.keyboard.press("Escape");
    await ask(page, "second");
    await answered(page);
    await page.reload();
    await page.keyboard.press("Alt+n");
    await page.keyboard.press("Alt+Comma");
    await page.click(".presets >> text=Short verse");
    expect(await page.inputValue("#system-prompt")).toBe("Be brief.");
    expect(await page.inputValue("#number-temperature")).toBe("0.2");
    expect(await accessibilityFaults()).toEqual([]);
    await page.keyboard.press("Escape");
    await ask(page, "third");
    await answered(page);
    expect(fake.asked.map(({ messages, temperature }) => [messages[0].content, temperature])).toEqual([
      ["Answer in verse.\n\nBe brief.", 0.2], ["Answer in verse.", undefined], ["Answer in verse.\n\nBe brief.", 0.2],
    ]);
    expectQuiet();
  });

  test("a conversation gets its title from the model, unless somebody gave it one or wants none", async () => {
    const page = await open();
    await ask(page, "Where do otters live?");
    await answered(page);
    await expect.poll(() => page.textContent(".conversation-title")).toBe("A matter of animals");
    expect(fake.titled.map(({ model }) => model)).toEqual(["gpt-oss:20b"]);
    await page.keyboard.press("Alt+n");
    await page.keyboard.press("Alt+Comma");
    await page.click("text=Let the model give titles");
    await page.keyboard.press("Escape");
    await ask(page, "And herons?");
    await answered(page);
    await expect.poll(() => fake.conversations.size).toBe(2);
    expect(await page.textContent(".conversation-title")).toBe("And herons?");
    expect(fake.titled.length).toBe(1);
    expectQuiet();
  });
});

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
      await page.waitForTimeout(300);
      expect(await accessibilityFaults()).toEqual([]);
      await page.keyboard.press("Escape");
      await page.waitForSelector("dialog", { state: "detached" });
    }
    expectQuiet();
  });
});

describe("how it looks", () => {
  const question = "Write a Python function that finds duplicate files in a folder";

  test("light, with a receipt one click away that says what left", async () => {
    const page = await open();
    await ask(page, question);
    await answered(page);
    await page.evaluate(() => document.querySelector(".scroller")?.scrollTo(0, 0));
    await page.waitForTimeout(200);
    await page.click("text=Receipt");
    await page.waitForTimeout(300);
    expect(await page.textContent(".left.nothing p")).toBe("What left this machine: nothing.");
    expect(await page.locator(".left dd").allTextContents()).toEqual(["0", "0", "0"]);
    await page.keyboard.press("Escape");
    await page.keyboard.press("Alt+m");
    await page.waitForTimeout(300);
    expectQuiet();
  });

  test("dark", async () => {
    const page = await open({ dark: true });
    await ask(page, question);
    await answered(page);
    await page.evaluate(() => document.querySelector(".scroller")?.scrollTo(0, 0));
    await page.waitForTimeout(200);
    expect(await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)).toBe("rgb(22, 26, 28)");
    expect(await accessibilityFaults()).toEqual([]);
    expectQuiet();
  });

  test("narrow: nothing is wider than the screen, conversations slide over", async () => {
    const page = await open({ width: 390, height: 780 });
    await ask(page, question);
    await answered(page);
    await page.evaluate(() => document.querySelector(".scroller")?.scrollTo(0, 0));
    await page.waitForTimeout(200);
    await expect.poll(() => page.textContent("#context")).toContain("of 2,000 tokens");
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
    await page.click("[aria-label='Show conversations']");
    await page.waitForSelector(".entry");
    expect(await accessibilityFaults()).toEqual([]);
    await page.click(".entry-open");
    await expect.poll(() => page.isVisible(".sidebar")).toBe(false);
    expectQuiet();
  });

  test.each(["not JSON", "[1, 2]", "{}", "null"])("a file that is no export is called so in the reader's words: %s", async (content) => {
    const page = await open({ locale: "fr-FR" });
    await page.keyboard.press("Alt+Comma");
    await page.setInputFiles("dialog input[type=file]", { name: "a.json", mimeType: "application/json", buffer: Buffer.from(content) });
    await page.getByText("Ce fichier n’est pas un export de conversations.").waitFor();
    expectQuiet();
  });

  test("French, to the last word", async () => {
    const page = await open({ locale: "fr-FR" });
    expect(await page.getAttribute("html", "lang")).toBe("fr");
    expect(await page.textContent(".welcome h2")).toBe("Que puis-je faire pour vous\u202f?");
    await ask(page, "think");
    await answered(page);
    await page.click("text=Reçu");
    await page.waitForTimeout(300);
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

