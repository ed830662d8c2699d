/** Looking inside an answer, over the fake server with traces that a real model gave. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { answered, ask, lastAnswer } from "./chromium";
import { accessibilityFaults, closeAll, expectQuiet, fake, focused, open, opened, restartServer, startServer } from "./fixture";

const QUESTION = "Complete: The capital of France is";

beforeEach(() => startServer());
afterEach(closeAll);

async function openAnswer(look: Parameters<typeof open>[0] = {}) {
  const page = await open(look);
  await ask(page, QUESTION);
  await answered(page);
  return page;
}

const lookInside = () => opened.page.click(".tools .button:has-text('Look inside')");
const traces = () => fake.state.traces;

test("off by default, and nothing is asked before somebody asks", async () => {
  const page = await openAnswer();
  expect(await page.locator(".answer-inside, .token").count()).toBe(0);
  expect(opened.requests.filter((url) => url.includes("/ouvert/"))).toEqual([]);
  await lookInside();
  await page.waitForSelector(".answer-inside");
  expect(await page.locator(".message.assistant .prose").count()).toBe(0); // the tokens stand in its place
  await page.click(".tools .button:has-text('Close the inside')");
  await expect.poll(() => page.locator(".message.assistant .prose").count()).toBe(1);
  expect(await page.locator(".answer-inside").count()).toBe(0);
  await expect.poll(() => traces().dropped.length).toBe(1);
  expectQuiet();
});

test("tokens are underlined by confidence; arrow keys and the pointer show what else the model thought of", async () => {
  const page = await openAnswer();
  await lookInside();
  await page.waitForSelector(".answer-inside .token");
  expect(await page.locator(".answer-inside .token").allTextContents()).toEqual(["The", " capital", " of", " France", " is", " Paris", ".", "<|im_end|>"]);
  await page.focus(".answer-inside .token[tabindex='0']");
  for (let n = 0; n < 5; n += 1) await page.keyboard.press("ArrowRight");
  expect(await focused()).toBe(" Paris");
  expect(await page.textContent(".alternatives .came th")).toMatch(/“ Paris”.*written/);
  expect(await page.locator(".alternatives tr").count()).toBeGreaterThanOrEqual(5);
  await page.hover(".answer-inside .token >> nth=0");
  await expect.poll(() => page.textContent(".alternatives .came th")).toMatch(/“The”/);
  await page.mouse.move(0, 0);
  await expect.poll(() => page.textContent(".alternatives .came th")).toMatch(/Paris/);
  await page.focus(".meters [role=slider]");
  await page.keyboard.press("End");
  expect(await page.getAttribute(".meters [role=slider]", "aria-valuetext")).toMatch(/<\|im_end\|>.*%/);
  expect(await accessibilityFaults()).toEqual([]);
  expectQuiet();
});

test("what takes long says its price first; then it shows how far it is, and can be stopped", async () => {
  const page = await openAnswer();
  traces().plan.seconds = 95;
  traces().polls = 1000;
  await lookInside();
  await page.waitForSelector("text=about 1 min 35 s");
  expect(await page.textContent(".inside-note")).toContain("5.3 MB of memory");
  expect(traces().made.size).toBe(0);
  await page.click("text=Compute it");
  await page.waitForSelector(".inside-note progress");
  await page.waitForSelector("text=/Computing: \\d+%/");
  await page.click(".inside-note >> text=Cancel");
  await expect.poll(() => traces().dropped).toEqual(["traces-1"]);
  await expect.poll(() => page.locator(".inside-note").count()).toBe(0);
  expect(await page.locator(".message.assistant .prose").count()).toBe(1);
  expectQuiet();
});

test("a lens that takes long says its price before it is computed", async () => {
  const page = await openAnswer();
  traces().plan.lens_seconds = 40;
  await lookInside();
  await page.click("text=Open the full view");
  await page.waitForSelector("dialog >> text=takes about 40 s");
  expect(opened.requests.filter((url) => url.includes("/lens"))).toEqual([]);
  await page.click("dialog >> text=Compute the lens");
  await page.waitForSelector("dialog [role=grid]");
  expectQuiet();
});

test("what the server refuses is said in its words", async () => {
  const page = await openAnswer();
  traces().refuses = "looking inside: this key may not. Ask for the scope inspect.";
  await lookInside();
  await page.waitForSelector(".inside-note.failed");
  expect(await page.textContent(".inside-note")).toContain("this key may not. Ask for the scope inspect.");
  expectQuiet(["Failed to load resource: the server responded with a status of 400 (Bad Request)"]);
});

test("the full view by keyboard alone: every tab, one token selected in all of them, and the way back", async () => {
  const page = await openAnswer();
  await lookInside();
  await page.waitForSelector(".answer-inside .token");
  await page.focus("text=Open the full view");
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog .inside [role=grid]");
  expect(await accessibilityFaults()).toEqual([]);
  await page.focus("dialog [role=gridcell][tabindex='0']");
  await page.keyboard.press("Control+Home");
  await page.keyboard.press("ArrowDown");
  expect(await page.textContent("dialog .readout")).toMatch(/^After “.*”, layer 26 would write: /);
  await page.keyboard.press("End");
  for (let n = 0; n < 3; n += 1) await page.keyboard.press("ArrowLeft"); // read off before it: the row of " is"
  expect(await page.textContent("dialog .facts h3")).toBe("“ Paris”");
  expect(await page.locator("dialog .token[aria-selected=true]").allTextContents()).toEqual([" Paris"]);
  await page.focus("dialog [role=tab][aria-selected=true]");
  const panels: string[] = [];
  for (const said of [/the mean of all heads looks most at/, /no view “Experts”.*lens/, /All parts add up to 18\.49/, /The least likely was/]) {
    await page.keyboard.press("ArrowRight");
    await expect.poll(() => page.textContent("dialog [role=tabpanel]")).toMatch(said);
    panels.push(await page.evaluate(() => document.activeElement?.textContent ?? ""));
    expect(await accessibilityFaults()).toEqual([]);
  }
  expect(panels).toEqual(["Attention", "Experts", "Attribution", "Confidence"]);
  await page.click("dialog >> text=How is this computed?");
  expect(await page.textContent("dialog .how .source")).toMatch(/graph\.py, line/);
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog", { state: "detached" });
  expect(await focused()).toBe("Open the full view");
  expectQuiet();
});

test("another model beside it: the same question, and where the two part", async () => {
  const page = await openAnswer();
  await lookInside();
  await page.click("text=Open the full view");
  await page.click("dialog [role=tab] >> text=Compare");
  await page.selectOption("dialog .choose select", { label: "smollm2" });
  await page.click("dialog >> text=Compare with smollm2");
  await expect.poll(() => page.textContent("dialog [role=tabpanel]")).toContain("gpt-oss:20b and smollm2 say the same, to the last character.");
  const { messages, model } = traces().asked.at(-1);
  expect([model, messages.at(-1)]).toEqual(["smollm2", { role: "user", content: QUESTION }]); // it answers for itself
  expect(await accessibilityFaults()).toEqual([]);
  await page.keyboard.press("Escape");
  expectQuiet();
});

test("a change beside a random one of the same size: what is sent, and what may be said of it", async () => {
  const page = await openAnswer();
  await lookInside();
  await page.click("text=Open the full view");
  await page.click("dialog [role=tab] >> text=Try a change");
  await page.selectOption("dialog label:has-text('Layer') select", "3");
  await page.fill("dialog label:has-text('Which') input", "99999");
  expect(await page.evaluate(() => document.querySelector<HTMLInputElement>("dialog input:invalid")?.validationMessage)).toContain("such as 3, 7-9");
  await page.fill("dialog label:has-text('Which') input", "0-1");
  await page.selectOption("dialog label:has-text('At which tokens') select", { label: "those of the answer" });
  expect(await accessibilityFaults()).toEqual([]);
  await page.click("dialog >> text=Write it again");
  await page.click("dialog .inside-note >> text=Compute it"); // its price is said first
  await page.waitForSelector("dialog .side-by-side.three");
  const [changed, control] = fake.asked.slice(-2).map((body) => body.ouvert.edits);
  expect(changed).toEqual([{ operation: "zero", tap: "layers.3.attention.mixed", positions: "answer", heads: [0, 1] }]);
  expect(control[0]).toMatchObject({ operation: "zero", tap: "layers.3.attention.mixed", positions: "answer" });
  expect(control[0].heads.filter((head: number) => head >= 2 && head < 9).length).toBe(2);
  expect(fake.asked.slice(-2).map(({ seed, temperature }) => [seed, temperature])).toEqual([[2661076391, 1], [2661076391, 1]]); // only the change differs
  expect(await page.locator("dialog .side-by-side h3").allTextContents()).toEqual(["Original", "Changed", "Random control of the same size"]);
  expect(await page.textContent("dialog .finding")).toContain("did not. That is one answer");
  expect(await page.textContent("dialog .kind")).toMatch(/^Intervention\./);
  expect(await accessibilityFaults()).toEqual([]);
  expectQuiet();
});

test("two prompts patched: the price, the grid, and noise that is no finding", async () => {
  const page = await openAnswer();
  await lookInside();
  await page.click("text=Open the full view");
  await page.click("dialog [role=tab] >> text=Patch");
  await page.click("dialog >> text=Compute the grid");
  await page.waitForSelector("dialog [role=grid]");
  const { place, clean, corrupted, metric, over, direction } = traces().asked.at(-1);
  expect({ place, clean, corrupted, metric, over, direction }).toEqual({ place: "patches", clean: "The capital of France is the city of", corrupted: "The capital of Italy is the city of", metric: { of: " Paris", less: " Rome" }, over: "out", direction: "denoise" });
  expect(await page.locator("dialog .cell.noise").count()).toBeGreaterThan(10);
  expect(await page.textContent("dialog figcaption")).toMatch(/^The strongest effect is .* places are beyond the noise/);
  expect(await page.locator("dialog .aligned strong").allTextContents()).toEqual([" France", " Italy"]);
  expect(await accessibilityFaults()).toEqual([]);
  expectQuiet();
});

test("an export says that it holds the words before it is written", async () => {
  const page = await openAnswer();
  await lookInside();
  await page.click("text=Open the full view");
  await page.click("dialog >> text=Export as a file");
  await page.waitForSelector("dialog >> text=the words of this conversation");
  const download = page.waitForEvent("download");
  await page.click("dialog >> text=Write the file");
  expect((await download).suggestedFilename()).toMatch(/\.html$/);
  await page.click("dialog >> text=Export as a file");
  await page.check("dialog label:has-text('Leave out the words') input");
  expect(await page.locator("dialog >> text=the words of this conversation").count()).toBe(0);
  expect(await accessibilityFaults()).toEqual([]);
  const silent = page.waitForEvent("download");
  await page.click("dialog >> text=Write the file");
  await silent;
  expect(opened.requests.filter((url) => url.includes("/page")).map((url) => url.split("/page")[1])).toEqual(["", "?words=false"]);
  expectQuiet();
});

test("an edited answer says so", async () => {
  const page = await open();
  await ask(page, "Answer edited");
  await answered(page);
  expect(await page.textContent(".edited")).toMatch(/^Edited answer/);
  expect(await accessibilityFaults()).toEqual([]);
  await page.click(".message.assistant [aria-label='Another answer']");
  await answered(page);
  expectQuiet();
});

test("at 200 % on a small screen nothing is cut off, and what is pressed is 44 pixels high", async () => {
  const page = await openAnswer({ width: 640, height: 450 });
  await lookInside();
  await page.click("text=Open the full view");
  await page.waitForSelector("dialog [role=grid]");
  expect(await page.evaluate(() => (document.querySelector("dialog")?.scrollWidth ?? 0) <= innerWidth)).toBe(true);
  const small = await page.evaluate(() =>
    [...document.querySelectorAll<HTMLElement>("dialog .inside :is(button, select, summary, [role=gridcell], [role=slider])")]
      .filter((each) => each.offsetHeight > 0 && each.offsetHeight < 44)
      .map((each) => each.outerHTML.slice(0, 120)),
  );
  expect(small).toEqual([]);
  expectQuiet();
});

test("in French", async () => {
  const page = await openAnswer({ locale: "fr-FR" });
  await page.click(".tools .button:has-text('Regarder à l’intérieur')");
  await page.click("text=Ouvrir la vue complète");
  await page.waitForSelector("dialog [role=grid]");
  expect(await page.textContent("dialog .kind")).toMatch(/^Observation\. Ceci a été observé/);
  expect(await page.textContent("dialog .readout")).toMatch(/^Après «\u202fThe\u202f», la couche 29 écrirait\u202f: /);
  await page.click("dialog >> text=En tableau");
  expect(await page.textContent("dialog .table-scroller th")).toBe("Couche");
  expect(await accessibilityFaults()).toEqual([]);
  expect(await lastAnswer(page).getAttribute("aria-label")).toBe("gpt-oss:20b");
  expectQuiet();
});

test("a key looks inside if it may inspect, and tries changes if it may edit too", async () => {
  const tabs = () => opened.page.locator("dialog [role=tab]").allTextContents();
  await restartServer({ scopes: [] });
  await openAnswer();
  expect(await opened.page.locator(".tools .button:has-text('Look inside')").count()).toBe(0);
  await opened.close();
  for (const scopes of [["inspect"], ["inspect", "edit"]]) {
    await restartServer({ scopes });
    await openAnswer();
    await lookInside();
    await opened.page.click("text=Open the full view");
    await opened.page.waitForSelector("dialog [role=tab] >> text=Patch");
    expect((await tabs()).includes("Try a change")).toBe(scopes.includes("edit"));
    if (!scopes.includes("edit")) await opened.close();
  }
  expectQuiet();
});
