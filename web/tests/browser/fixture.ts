/** What every test of the built page over the fake server begins with, and what must hold after each. */
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { expect } from "vitest";
import { makeFakeServer } from "../../dev/fake-server.mjs";
import { openPage, type Look, type Opened } from "./chromium";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Of the test that runs. */
export let fake: ReturnType<typeof makeFakeServer>;
export let opened: Opened;
export let address: string;

export async function startServer(options: Parameters<typeof makeFakeServer>[0] = {}): Promise<void> {
  fake = makeFakeServer(options);
  await new Promise<void>((done) => fake.server.listen(0, "127.0.0.1", done));
  address = `http://127.0.0.1:${(fake.server.address() as AddressInfo).port}/`;
}

export async function stopServer(): Promise<void> {
  fake.server.closeAllConnections();
  await new Promise((done) => fake.server.close(done));
}

export async function restartServer(options: Parameters<typeof makeFakeServer>[0]): Promise<void> {
  await stopServer();
  await startServer(options);
}

/** Opens the page and waits until it knows its models. */
export async function open(look: Look = {}): Promise<Opened["page"]> {
  const page = await openOnly(look);
  await page.waitForFunction(() => document.querySelector(".model")?.textContent?.includes("gpt-oss"));
  return page;
}

export async function openOnly(look: Look = {}): Promise<Opened["page"]> {
  opened = await openPage(address, look);
  return opened.page;
}

export async function closeAll(): Promise<void> {
  await opened.close();
  await stopServer();
}

/** The id, the text or the name of what has the focus. */
export const focused = () =>
  opened.page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent || (document.activeElement as HTMLInputElement | null)?.name);

/** Whatever a test does, the page asks no other server, and nothing is violated or complained of. */
export function expectQuiet(complaints: string[] = []): void {
  expect(opened.requests.filter((url) => !url.startsWith(address) && !url.startsWith("blob:"))).toEqual([]);
  expect(opened.violations).toEqual([]);
  expect(opened.complaints).toEqual(complaints);
}

export const accessibilityFaults = (): Promise<string[]> => accessibilityFaultsOf(opened);

export async function accessibilityFaultsOf({ page }: Opened): Promise<string[]> {
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
