/** Answers side by side over `ouvert compare open` itself: blind votes, then the names, and one answer read by the other model. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { openPage, type Look, type Opened } from "./chromium";
import { accessibilityFaultsOf } from "./fixture";
import { openComparison, type Comparing } from "./ouvert-compare";

const NAMES = ["zebrafish", "quokkafish"];
const OWN = ".own-question textarea";
let comparing: Comparing;
let opened: Opened;

beforeAll(async () => {
  comparing = await openComparison();
});
afterAll(() => comparing?.stop());
afterEach(async () => {
  expect(opened.requests.filter((url) => !url.startsWith(new URL(comparing.address).origin))).toEqual([]);
  expect([opened.violations, opened.complaints]).toEqual([[], []]);
  await opened.close();
});

async function open(look: Look = {}) {
  opened = await openPage(comparing.address, look, OWN);
  return opened.page;
}

async function ask(text: string): Promise<void> {
  await opened.page.fill(OWN, text);
  await opened.page.press(OWN, "Enter");
  await opened.page.waitForSelector(".ballot");
}

const leave = () => opened.page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
const named = async () => {
  const said = await opened.page.content(); // tests/serving/comparisons looks at every byte that the server sends
  return NAMES.filter((name) => said.includes(name));
};

test("nobody is named before the vote, which a key gives, and which is kept as it was seen", async () => {
  const page = await open();
  await ask("Say it.");
  expect(await named()).toEqual([]);
  const texts = await page.locator(".beside .said").allTextContents();
  expect([...texts].sort()).toEqual(["Hello a model.", "Hello from a tiny model."]);
  await page.check("text=Mark the words that differ");
  expect((await page.locator(".beside mark").allTextContents()).map((each) => each.trim()).sort()).toEqual(["from", "tiny"]);
  expect(await page.textContent(".marking")).toContain("They differ from word 2 on.");
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  await page.focus(OWN);
  await page.keyboard.press("1"); // it is typed, and no vote
  expect(await page.locator(".revealed").count()).toBe(0);
  await leave();
  await page.keyboard.press("2");
  await page.waitForSelector(".revealed");
  const labels = (await page.locator(".revealed").allTextContents()).map((each) => each.trim());
  expect([...labels].sort()).toEqual([...NAMES].sort());
  expect(texts[labels.indexOf("zebrafish")]).toBe("Hello a model.");
  const vote = comparing.votes().at(-1);
  expect((vote?.shown as string[]).map((each) => each.split("/").at(-1))).toEqual(labels);
  expect(vote?.verdict).toBe("second");
  await expect.poll(() => page.textContent(".tally")).toContain("A ranking is shown from 30 votes for each model; the one with the fewest has 1.");
  expect(await page.locator(".ranking").count()).toBe(0);
  expect(await page.textContent("[role=status].off-screen")).toContain(`Answer 1 is from ${labels[0]}.`);
});

test("one answer read by the other model: where they part, what each would write there, and how the other goes on", async () => {
  const page = await open({ dark: true });
  await ask("Say it again.");
  await page.click("text=Show the names without a vote");
  await page.waitForSelector(".rereading");
  expect(await page.locator(".ballot").count()).toBe(0);
  const long = (await page.locator(".beside .said").allTextContents()).indexOf("Hello from a tiny model.");
  await page.click(`.rereading button:has-text('quokkafish (answer ${long + 1}), read by zebrafish')`);
  await page.waitForSelector(".rereading .token");
  expect((await page.locator(".rereading .token").allTextContents()).join("")).toBe("Hello from a tiny model.<|im_end|>");
  expect(await page.textContent(".finding")).toBe("zebrafish would first have written something else at “ from”: “ a”.");
  expect(await page.locator(".token.window-from").textContent()).toBe(" from");
  expect(await page.getAttribute(".token.window-from", "aria-selected")).toBe("true");
  const likeliest = () => page.locator(".rereading .alternatives").evaluateAll((all) => all.map((each) => each.querySelector("th")?.textContent));
  expect(await likeliest()).toEqual(["“ from”", "“ a”"]);
  const colours = await page.locator(".rereading .token").evaluateAll((all) => all.map((each) => getComputedStyle(each).backgroundColor));
  expect(colours[1]).not.toBe(colours[0]);
  await page.click("text=What zebrafish would have said from here");
  await expect.poll(() => page.locator(".goes-on mark").textContent()).toBe(" a model.");
  expect(await page.textContent(".goes-on .said")).toBe("Hello a model.");
  await page.hover(".rereading .token >> nth=2");
  await expect.poll(likeliest).toEqual(["“ a”", "“ from”"]); // for zebrafish, “ from” is followed by itself
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
});

test("the comparison's own questions, one vote for a label on each, in French and on a telephone", async () => {
  const page = await open({ width: 390, height: 800, locale: "fr-FR" });
  await page.click(".question-list summary");
  const question = page.locator(".question-list li button").first();
  for (const [key, kept] of [["0", true], ["x", false]] as const) {
    await question.click();
    await page.waitForSelector(".ballot");
    expect(await page.locator(".compare-question").textContent()).toBe(await question.locator("span").textContent());
    await page.fill(".ballot label:has-text('pseudonyme') input", "Ada");
    await leave();
    await page.keyboard.press(key);
    await expect.poll(() => page.textContent(".tally")).toContain(kept ? "Votre vote est enregistré" : "cette voix ne compte pas");
  }
  const own = comparing.votes().filter((vote) => vote.voter === "Ada");
  expect(own.map(({ verdict, row }) => [verdict, row])).toEqual([["tie", "ladder/en"]]);
  expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  await page.click("[aria-label='Afficher les conversations']");
  await page.click("text=Nouvelle conversation");
  await page.waitForSelector("#composer");
  await page.goBack();
  await page.waitForSelector(OWN);
});

test("with thirty votes for each model there is a ranking, and every rating has its interval", async () => {
  const last = comparing.votes().at(-1);
  const shown = last?.shown as string[];
  comparing.addVotes(Array.from({ length: 40 }, (_, n) => ({ ...last, voter: `voter ${n % 8}`, prompt: `sha256:${n}`, verdict: n % 4 === 0 ? "second" : "first" })));
  const page = await open();
  await page.waitForSelector(".ranking");
  const rows = await page.locator(".ranking tbody tr").evaluateAll((all) => all.map((row) => [...row.querySelectorAll("th, td")].slice(0, 4).map((cell) => cell.textContent ?? "")));
  expect(rows[0]?.[0]).toBe(shown[0]?.split("/").at(-1));
  for (const [, votes, rating = "", interval = ""] of rows) {
    expect(Number(votes)).toBeGreaterThanOrEqual(40);
    const [points = 0, low = 0, high = 0] = [rating, ...interval.split(" to ")].map(Number);
    expect(low).toBeLessThanOrEqual(points);
    expect(high).toBeGreaterThanOrEqual(points);
  }
  expect(await page.locator(".whisker").count()).toBe(2);
  expect(await page.textContent(".tally")).toContain("Where intervals overlap, the order is not shown by these votes.");
  expect(await accessibilityFaultsOf(opened)).toEqual([]);
  await page.emulateMedia({ media: "print" });
  expect(await page.locator(".ranking").isVisible()).toBe(true);
});
