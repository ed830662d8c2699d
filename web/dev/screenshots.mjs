/**
 * Pictures of the page for the guide, from a real server with real models: `npm --prefix web run screenshots`.
 *
 * REAL: the file of a model that answers well; the pictures in the guide are of Qwen2.5-Coder-1.5B-Instruct, Q4_K_M, as
 * its makers publish it. ONLY=inside, ONLY=desk: those of the inside of an answer alone, of documents and agents alone. OUVERT: the command (.venv/bin/ouvert); it fetches SmolLM2. Nothing on the pictures is made up:
 * the answers are those that the models gave when they were taken. What is written goes to docs/figures/web.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FIGURES = join(ROOT, "docs/figures/web");
const OUVERT = process.env.OUVERT ?? join(ROOT, ".venv/bin/ouvert");
const REAL = process.env.REAL;
const REAL_NAME = process.env.REAL_NAME ?? "qwen2.5-coder:1.5b";
const CHROMIUM = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser"].find((path) => path && existsSync(path));
const QUESTION = "What is the difference between a list and a tuple in Python? Answer in two sentences and show one line of code for each.";
const FRENCH = "Explique en deux phrases ce qu’est une fonction récursive en Python, avec un exemple court.";
const FACT = "What is the capital of Australia? Answer in one short sentence.";
const TOY = "Name three animals that live in the sea";
const LONG = `What is this list about?\n\n${Array.from({ length: 120 }, (_, n) => `${n + 1}. A line about otters, herons and the river they share.`).join("\n")}`;
const SETTINGS = { sampling: { temperature: 0, seed: 1, max_tokens: 700 } };

/** A server of its own, with an empty folder for what it keeps. */
async function serve(home) {
  const env = { ...process.env, OUVERT_HOME: home };
  execFileSync(OUVERT, ["pull", "smollm2"], { stdio: "inherit", env });
  execFileSync(OUVERT, ["pull", REAL, "--name", REAL_NAME], { stdio: "inherit", env });
  const server = spawn(OUVERT, ["serve", REAL_NAME, "smollm2", "--port", "0"], { env });
  let said = "";
  const address = await new Promise((ready, failed) => {
    server.stderr.on("data", (piece) => {
      said += piece;
      const found = /Ready at (http:\S+)/.exec(said);
      if (found) ready(`${found[1]}/`);
    });
    server.on("exit", () => failed(new Error(`ouvert serve ended: ${said}`)));
  });
  return { server, address };
}

async function open(browser, address, { language = "en", model, ...look } = {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, locale: language, ...look });
  await context.addInitScript(
    ([settings]) => {
      localStorage.setItem("ouvert.settings", JSON.stringify(settings));
      localStorage.setItem("ouvert.titles", "off");
    },
    [{ ...SETTINGS, model }],
  );
  const page = await context.newPage();
  page.setDefaultTimeout(600_000);
  await page.goto(address);
  await page.waitForSelector(".model .dot.loaded, .model .dot.on_disk, .model .dot.loading");
  return page;
}

async function ask(page, text) {
  await page.fill("#composer", text);
  await page.waitForSelector("button[type=submit]:enabled");
  await page.press("#composer", "Enter");
}

async function answered(page) {
  await page.waitForSelector(".message.assistant:last-child .tools");
  await page.waitForSelector(".meter-text");
  await page.evaluate(() => document.querySelector(".scroller")?.scrollTo(0, 0));
  await page.mouse.move(0, 0);
}

const take = async (page, name) => {
  await page.waitForTimeout(400); // transitions
  await page.screenshot({ path: join(FIGURES, `${name}.png`), animations: "disabled" });
  console.log(`docs/figures/web/${name}.png`);
};

async function takeAll(browser, address) {
  const { models } = await (await fetch(`${address}api/ui/models`)).json();
  const [real, toy] = [REAL_NAME, "smollm2"];
  if (models.find((each) => each.id === real)?.toy !== false) throw new Error(`${real} is a toy, expected a model that answers well. Set REAL to the file of one.`);

  const page = await open(browser, address, { model: real });
  await take(page, "welcome");
  await ask(page, QUESTION);
  await answered(page);
  await take(page, "light");
  await page.setViewportSize({ width: 1180, height: 1060 });
  await page.click("text=Receipt");
  await page.waitForSelector(".receipt");
  await take(page, "receipt");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Alt+,");
  await page.waitForSelector("#instructions");
  await take(page, "settings");
  await page.keyboard.press("Escape");
  await page.setViewportSize({ width: 1180, height: 760 });
  await page.keyboard.press("Alt+m");
  await page.waitForSelector(".choice");
  await take(page, "models");
  await page.click("text=Fetch and remove models");
  await page.waitForFunction(() => document.querySelector("dialog")?.innerText.includes("tokens a second,"));
  await take(page, "fetching");
  await page.keyboard.press("Escape");
  const address_of_answer = page.url();

  const dark = await open(browser, address, { model: real, colorScheme: "dark" });
  await dark.goto(address_of_answer);
  await dark.reload();
  await answered(dark);
  await take(dark, "dark");
  const narrow = await open(browser, address, { model: real, viewport: { width: 390, height: 780 } });
  await narrow.goto(address_of_answer);
  await narrow.reload();
  await answered(narrow);
  await take(narrow, "narrow");

  const french = await open(browser, address, { model: real, language: "fr-FR" });
  await ask(french, FRENCH);
  await answered(french);
  await take(french, "french");

  const reading = await open(browser, address, { model: real });
  await ask(reading, LONG);
  await reading.waitForFunction(() => Number(document.querySelector(".waiting progress")?.value) > 600); // the second step
  await take(reading, "reading");
  await reading.keyboard.press("Escape");

  const plaything = await open(browser, address, { model: toy });
  await ask(plaything, TOY);
  await answered(plaything);
  await take(plaything, "toy");
}

/** An answer that is looked into, and the tabs of its full view. */
async function takeInside(browser, address) {
  const page = await open(browser, address, { model: REAL_NAME });
  await ask(page, FACT);
  await answered(page);
  await page.click("text=Look inside");
  await page.click(".inside-note >> text=Compute it", { timeout: 10_000 }).catch(() => undefined); // it is asked only where it takes long
  await page.waitForSelector(".answer-inside .token");
  await page.evaluate(() => document.querySelector(".scroller")?.scrollTo(0, 0));
  await take(page, "inside");
  await page.setViewportSize({ width: 1400, height: 900 });
  await page.click("text=Open the full view");
  await page.waitForSelector("dialog [role=grid]");
  await page.click("dialog .token:has-text('berra') >> nth=-1");
  await page.mouse.move(0, 0);
  await take(page, "lens");
  await page.click("dialog [role=tab] >> text=Attention");
  await page.waitForSelector("dialog .bars li");
  await take(page, "attention");
}

const CLERK = `---
name: clerk
description: Keeps notes.
model: ${REAL_NAME}
temperature: 0
held: true
tools: [files]
approve: always
budget: {steps: 8, tokens: 1500, seconds: 400}
---
Call one tool at a time. When all is done, say in one sentence what you did.
`;

/** A lease of three pages, of which the second is a picture: that of the tests. */
function writeLease(home) {
  const said = "import sys; sys.path.insert(0, 'tests/documents'); import files; sys.stdout.buffer.write(files.LEASE)";
  const file = join(home, "lease.pdf");
  writeFileSync(file, execFileSync(join(ROOT, ".venv/bin/python"), ["-c", said], { cwd: ROOT }));
  return file;
}

/** Documents and agents: a collection, an answer from it, the page that its citation opens, and a question of an agent. */
async function takeDesk(home, browser, address) {
  mkdirSync(join(home, "agents/clerk"), { recursive: true });
  writeFileSync(join(home, "agents/clerk/agent.md"), CLERK);
  const page = await open(browser, address, { model: REAL_NAME });
  await page.keyboard.press("Alt+o");
  await page.fill("dialog input[name=collection]", "contracts");
  await page.press("dialog input[name=collection]", "Enter");
  await page.setInputFiles("dialog .collection input[type=file]", writeLease(home));
  await page.waitForSelector("[aria-label='Open lease.pdf']");
  await page.check("[aria-label='Ask contracts in this conversation']");
  await take(page, "documents");
  await page.keyboard.press("Escape");
  await ask(page, "How much is the deposit, and when is it given back?");
  await answered(page);
  await take(page, "cited");
  await page.click(".cite");
  await page.waitForSelector("canvas.page-picture:not([hidden])");
  await take(page, "cited-page");

  const acting = await open(browser, address, { model: "agent/clerk", viewport: { width: 1180, height: 900 } });
  await ask(acting, "Write a file todo.md with three lines: milk, bread, eggs. Then read it and say how many lines it has.");
  await acting.waitForSelector(".question-card");
  await acting.evaluate(() => document.querySelector(".scroller")?.scrollTo(0, 0));
  await take(acting, "agent-question");
}

if (!REAL) throw new Error("REAL is not set, expected the path of a model that answers well: REAL=path/to/model.gguf npm --prefix web run screenshots");
const home = mkdtempSync(join(tmpdir(), "ouvert-pictures-"));
mkdirSync(FIGURES, { recursive: true });
const { server, address } = await serve(home);
const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--headless", "--disable-gpu"] });
try {
  const { ONLY } = process.env;
  if (!ONLY) await takeAll(browser, address);
  if (!ONLY || ONLY === "inside") await takeInside(browser, address);
  if (!ONLY || ONLY === "desk") await takeDesk(home, browser, address);
} finally {
  await browser.close();
  const ended = new Promise((done) => server.once("exit", done));
  server.kill("SIGTERM");
  await ended;
  rmSync(home, { recursive: true });
}
