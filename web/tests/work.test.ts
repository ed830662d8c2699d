import { expect, test } from "vitest";
import { Work, type Task, type WorkState } from "../src/state/work";

function watched(task: Partial<Task<string>>) {
  const seen: (string | undefined)[] = [];
  const steps: (WorkState<string> | undefined)[] = [];
  const whole: Task<string> = { price: () => Promise.resolve({ seconds: 1, bytes: 1 }), run: () => Promise.resolve("found"), ...task };
  const work = new Work(whole, (state) => {
    seen.push(state?.step);
    steps.push(state);
  });
  return { work, seen, last: () => steps.at(-1) };
}

test("what takes little is begun at once, and how far it is is told", async () => {
  const { work, seen, last } = watched({
    run: (_, progress) => {
      progress(0.5);
      return Promise.resolve("found");
    },
  });
  await work.ask();
  expect(seen).toEqual(["pricing", "working", "working", "done"]);
  expect(last()).toEqual({ step: "done", result: "found" });
});

test("what takes long waits for a yes", async () => {
  let runs = 0;
  const { work, seen } = watched({ price: () => Promise.resolve({ seconds: 60, bytes: 5 }), run: () => Promise.resolve(String((runs += 1))) });
  await work.ask();
  expect([seen, runs]).toEqual([["pricing", "priced"], 0]);
  await work.begin();
  expect([seen.at(-1), runs]).toEqual(["done", 1]);
});

test("what is stopped tells nothing more, whatever comes of it", async () => {
  let finish: (value: string) => void = () => undefined;
  let signal: AbortSignal | undefined;
  const { work, seen } = watched({
    run: (mine, progress) => {
      signal = mine;
      return new Promise((resolve) => {
        finish = (value) => {
          progress(0.9);
          resolve(value);
        };
      });
    },
  });
  const asked = work.ask();
  await new Promise((resolve) => setTimeout(resolve));
  work.stop();
  finish("too late");
  await asked;
  expect(signal?.aborted).toBe(true);
  expect(seen).toEqual(["pricing", "working", undefined]);
});

test("a fault is shown in its words", async () => {
  const { work, last } = watched({ price: () => Promise.reject(new Error("this key may not")) });
  await work.ask();
  expect(last()).toEqual({ step: "failed", why: "this key may not" });
});
