/** The built page over `ouvert serve` itself: a model is fetched, the server is killed in the middle, and the page goes on. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { answered, ask, lastAnswer, openPage, type Opened } from "./chromium";
import { FakeHub } from "./fake-hub";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const BIN = join(ROOT, ".venv/bin");
const MODEL = "qwen2.5:0.5b"; // by its short name; what the hub of this test gives is a tiny model of random weights
const HELD = 200_000;
let folder: string;
let hub: FakeHub;
let server: ChildProcess;
let address: string;
let opened: Opened;

async function serve(port: number): Promise<void> {
  server = spawn(join(BIN, "ouvert"), ["serve", "--port", String(port), "--threads", "1"], { env: { ...process.env, OUVERT_HOME: join(folder, "home"), HF_ENDPOINT: hub.address } });
  let said = "";
  address = await new Promise<string>((ready, failed) => {
    server.stderr?.on("data", (piece: Buffer) => {
      said += piece.toString();
      const found = /Ready at (http:\S+)/.exec(said);
      if (found?.[1]) ready(`${found[1]}/`);
    });
    server.on("exit", () => failed(new Error(`ouvert serve ended: ${said}`)));
  });
}

async function end(signal: NodeJS.Signals): Promise<void> {
  const ended = new Promise((done) => server.once("exit", done));
  server.kill(signal);
  await ended;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "ouvert-fetching-"));
  const model = join(folder, "model");
  execFileSync(join(BIN, "python"), [join(ROOT, "examples/tiny_gpt_oss.py"), model]);
  hub = new FakeHub("Qwen/Qwen2.5-0.5B-Instruct", model);
  await hub.start();
  await serve(0);
});

afterAll(async () => {
  await opened?.close();
  await end("SIGTERM");
  await hub.stop();
  rmSync(folder, { recursive: true });
});

test("a fetch survives a kill of the server, the model answers at once, and is removed", async () => {
  hub.holdAfter = HELD;
  opened = await openPage(address);
  const { page } = opened;
  await page.click("text=Fetch one");
  await page.click(`[aria-label='Fetch: ${MODEL}']`);
  await page.click("dialog .primary");
  await expect.poll(async () => (await page.locator(".card:has(progress)").innerText()).replace(/\s/g, " ")).toContain("Fetching · 200 kB of");
  await end("SIGKILL");
  hub.holdAfter = null;
  await serve(Number(new URL(address).port));

  await page.reload();
  await page.click("text=Fetch one");
  const card = page.locator(`.card:has-text('${MODEL}')`).first();
  await expect.poll(async () => (await card.innerText()).replace(/\s/g, " ")).toContain("Not finished · 200 kB of");
  await page.click(`[aria-label='Go on: ${MODEL}']`);
  await page.click("dialog .primary");
  await expect.poll(() => page.locator(`[aria-label='Remove: ${MODEL}']`).count()).toBe(1);
  expect(hub.ranges).toEqual([undefined, `bytes=${HELD}-`]);
  await page.keyboard.press("Escape");
  expect(await page.textContent(".notice")).toContain(`${MODEL} is here and can be used.`);
  await ask(page, "Hello");
  await answered(page);
  expect(await lastAnswer(page).locator(".prose").textContent()).toBeTruthy();

  await page.keyboard.press("Alt+m");
  await page.click("text=Fetch and remove models");
  await page.click(`[aria-label='Remove: ${MODEL}']`);
  await page.click(".primary.final");
  await expect.poll(() => page.locator(`[aria-label='Fetch: ${MODEL}']`).count()).toBe(1);
  expect(opened.requests.filter((url) => !url.startsWith(address))).toEqual([]);
  expect(opened.violations).toEqual([]);
});
