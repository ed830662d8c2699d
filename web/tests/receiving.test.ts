/** An answer is received from a stream that the test writes. */
import { signal } from "@preact/signals";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { AnswerRequest } from "../src/server/answers";
import { announcement } from "../src/state/notices";
import type { Generation, PartialAnswer } from "../src/state/open-conversations";
import { receiveAnswer } from "../src/state/receiving";
import { isKeyNeeded } from "../src/state/session";
import { en } from "../src/words/en";

const REQUEST: AnswerRequest = { model: "m", messages: [] };
const delta = (more: object) => ({ choices: [{ delta: more }] });
const ended = (reason: string) => ({ choices: [{ delta: {}, finish_reason: reason }] });

let generation: Generation;

beforeEach(() => {
  isKeyNeeded.value = false;
  generation = { message: "a", partial: signal<PartialAnswer>({ text: "", reasoning: "" }), controller: new AbortController() };
});
afterEach(() => vi.unstubAllGlobals());

async function receive(chunks: object[], { status = 200, isWhole = true, request = REQUEST } = {}) {
  const body = status === 200 ? chunks.map((each) => `data: ${JSON.stringify(each)}\n\n`).join("") + (isWhole ? "data: [DONE]\n\n" : "") : JSON.stringify(chunks[0]);
  vi.stubGlobal("fetch", async () => new Response(body, { status }));
  return receiveAnswer(request, generation, () => undefined);
}

test("thoughts, text, usage and receipt become one message", async () => {
  const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
  const message = await receive([delta({ reasoning: "hm" }), delta({ content: "a" }), delta({ content: "b" }), ended("stop"), { usage }, { ouvert: { receipt: { receipt: 1 } } }]);
  expect(message).toEqual({ text: "ab", reasoning: "hm", thinking_seconds: expect.any(Number), ended: "stop", usage, receipt: { receipt: 1 } });
  expect(generation.partial.value).toMatchObject({ text: "ab", reasoning: "hm" });
  expect(announcement.value).toBe(en.announceThinking);
});

test("an answer that was cut off says so, for whatever reason", async () => {
  expect(await receive([delta({ content: "a" }), ended("length")])).toEqual({ text: "a", ended: "length" });
});

test("an answer whose end nobody stated has failed, and what came of it is kept", async () => {
  expect(await receive([delta({ content: "a" })])).toEqual({ text: "a", ended: "error", error: en.endedError });
  expect(await receive([delta({ content: "b" })], { isWhole: false })).toMatchObject({ ended: "error", error: en.unreachable });
});

test("an answer that is stopped is no failure", async () => {
  vi.stubGlobal("fetch", async () => {
    throw new DOMException("stopped", "AbortError"); // as browsers say it
  });
  expect(await receiveAnswer(REQUEST, generation, () => undefined)).toEqual({ text: "", ended: "cancelled" });
});

test("a full context and a message that is too long by itself are told apart", async () => {
  const refused = [{ error: { message: "too long", code: "context_length_exceeded", n_prompt_tokens: 9, n_ctx: 8 } }];
  expect((await receive(refused, { status: 400 })).error).toBe(en.faults.context_length_exceeded?.("9", "8"));
  expect((await receive(refused, { status: 400, request: { ...REQUEST, truncation: "auto" } })).error).toBe(en.messageTooLong("8"));
});

test("a key that the server does not accept is asked for again", async () => {
  await receive([{ error: { message: "unknown key" } }], { status: 401 });
  expect(isKeyNeeded.value).toBe(true);
});
