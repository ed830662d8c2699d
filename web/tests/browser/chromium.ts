/** A real browser for the tests: Debian's chromium, without anything it would ask the network by itself. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type BrowserContext, type Page } from "playwright-core";
import { PATIENCE } from "./patience";

const FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split(" ");
const PLACES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export interface Opened {
  page: Page;
  context: BrowserContext;
  requests: string[]; // every address the page asked for, navigation included
  violations: string[]; // of the Content-Security-Policy
  complaints: string[]; // errors and warnings on the console, and exceptions
  close: () => Promise<void>;
}

export interface Look {
  width?: number;
  height?: number;
  dark?: boolean;
  locale?: string;
}

/** `until`: what is on the page once it can be used. */
export async function openPage(address: string, look: Look = {}, until = "#composer"): Promise<Opened> {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  if (!executablePath) throw new Error("No chromium was found. Install it (apt-get install chromium), or set CHROMIUM to its path.");
  const profile = mkdtempSync(join(tmpdir(), "ouvert-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    args: FLAGS,
    viewport: { width: look.width ?? 1280, height: look.height ?? 820 },
    colorScheme: look.dark ? "dark" : "light",
    locale: look.locale ?? "en-US",
    permissions: ["clipboard-read", "clipboard-write"],
    acceptDownloads: true,
  });
  context.setDefaultTimeout(PATIENCE);
  const page = context.pages()[0] ?? (await context.newPage());
  const requests: string[] = [];
  const violations: string[] = [];
  const complaints: string[] = [];
  context.on("request", (request) => requests.push(request.url()));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.exposeFunction("reportViolation", (violation: string) => void violations.push(violation));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      const report = (globalThis as unknown as { reportViolation: (text: string) => void }).reportViolation;
      report(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
    });
  });
  await page.goto(address);
  await page.waitForSelector(until);
  const close = async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 3 });
  };
  return { page, context, requests, violations, complaints, close };
}

export async function ask(page: Page, text: string): Promise<void> {
  await page.fill("#composer", text);
  await page.waitForSelector("button[type=submit]:enabled");
  await page.press("#composer", "Enter");
}

export const answered = (page: Page) => page.waitForSelector(".message.assistant:last-child .tools");
export const lastAnswer = (page: Page) => page.locator(".message.assistant").last();
