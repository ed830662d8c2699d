/** The owner trains an adapter from the page: a file, a name, the losses as they come, an end. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { accessibilityFaults, closeAll, expectQuiet, fake, open, startServer } from "./fixture";

beforeEach(() => startServer());
afterEach(closeAll);

async function openTraining() {
  const page = await open();
  await page.keyboard.press("Alt+m");
  await page.click("text=Training");
  await page.waitForSelector(".new-training");
  return page;
}

describe("training", () => {
  test("begins with a file, shows both losses, and is stopped and forgotten", async () => {
    const page = await openTraining();
    await page.setInputFiles(".new-training input[type=file]", { name: "tickets.jsonl", mimeType: "application/jsonl", buffer: Buffer.from("{}\n") });
    await page.fill(".new-training input[name=name]", "tickets");
    await page.fill(".new-training input[name=minutes]", "15");
    await page.click(".new-training button[type=submit]");
    await page.waitForSelector("text=gpt-oss:20b+tickets");
    expect(fake.state.tunings[0]?.asked).toMatchObject({ data: "file-0123456789abcdef", name: "tickets", recipe: { optimise: { minutes: 15 } } });
    Object.assign(fake.state.tunings[0]!, {
      steps: { done: 2, of: 10 },
      metrics: [{ step: 0, held_out: 4 }, { step: 1, loss: 3 }, { step: 2, loss: 2 }, { step: 2, held_out: 2.5 }],
    });
    await page.waitForSelector("svg[aria-label='loss 2, on examples held back 2.5']");
    await page.waitForSelector("text=learning · step 2 of 10");
    expect(await accessibilityFaults()).toEqual([]);
    await page.click("[aria-label='Stop: tickets']");
    await page.waitForSelector("text=stopped · step 2 of 10");
    await page.click("[aria-label='Forget: tickets']");
    await page.waitForSelector("text=Nothing is being trained.");
    expectQuiet();
  });

  test("says what the server refuses, and the state of what was trained", async () => {
    const page = await openTraining();
    await page.fill(".new-training input[name=name]", "taken");
    await page.click(".new-training button[type=submit]");
    await page.waitForSelector("text=there is an adapter or an unfinished run");
    await page.fill(".new-training input[name=name]", "mine");
    await page.click(".new-training button[type=submit]");
    await page.waitForSelector("text=gpt-oss:20b+mine");
    expect(fake.state.tunings[0]?.asked.data).toBe("corrections");
    Object.assign(fake.state.tunings[0]!, { state: "finished", steps: { done: 9, of: 9 }, adapter: { name: "mine", state: "regression" } });
    await page.waitForSelector("text=a check found a regression, not gated · step 9 of 9");
  });
});
