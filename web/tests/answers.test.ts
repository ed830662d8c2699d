import { afterEach, describe, expect, test, vi } from "vitest";
import { eventsOf, requestBody, streamAnswer } from "../src/server/answers";
import { ServerError } from "../src/server/http";

describe("chunks", () => {
  test("reasoning comes under either name, once", () => {
    const chunk = { choices: [{ delta: { reasoning: "a", reasoning_content: "a" } }] };
    expect([...eventsOf(chunk)]).toEqual([{ kind: "reasoning", text: "a" }]);
    expect([...eventsOf({ choices: [{ delta: { reasoning_content: "b" } }] })]).toEqual([{ kind: "reasoning", text: "b" }]);
  });
  test("the last one brings the reason and the receipt", () => {
    const chunk = { choices: [{ delta: {}, finish_reason: "stop" }], ouvert: { receipt: { receipt: 1 } } };
    expect([...eventsOf(chunk)]).toEqual([{ kind: "finished", reason: "stop" }, { kind: "receipt", receipt: { receipt: 1 } }]);
  });
  test("an error inside the stream is an error", () => {
    expect(() => [...eventsOf({ error: { message: "out of memory" } })]).toThrow("out of memory");
  });
});

test("a request says only what was set", () => {
  const bare = requestBody({ model: "m", messages: [] });
  expect(Object.keys(bare).sort()).toEqual(["messages", "model", "ouvert", "stream", "stream_options"]);
  const full = requestBody({ model: "m", messages: [], effort: "low", sampling: { temperature: 0, max_tokens: 5, seed: 1 } });
  expect(full).toMatchObject({ reasoning_effort: "low", temperature: 0, max_completion_tokens: 5, seed: 1 });
  expect(full).not.toHaveProperty("max_tokens");
});

describe("an answer", () => {
  afterEach(() => vi.unstubAllGlobals());
  const serve = (body: string, status = 200) => vi.stubGlobal("fetch", async () => new Response(body, { status }));
  const all = async () => {
    const events = [];
    for await (const event of streamAnswer({ model: "m", messages: [] }, new AbortController().signal)) events.push(event);
    return events;
  };
  test("ends with [DONE]", async () => {
    serve('data: {"choices":[{"delta":{"content":"hé"}}]}\n\ndata: [DONE]\n\n');
    expect(await all()).toEqual([{ kind: "text", text: "hé" }]);
  });
  test("that breaks off is an error, not an end", async () => {
    serve('data: {"choices":[{"delta":{"content":"h"}}]}\n\n');
    await expect(all()).rejects.toThrow("before the answer was complete");
  });
  test("that is refused carries the server's words, status and numbers", async () => {
    serve('{"error":{"message":"too long","code":"context_length_exceeded","n_prompt_tokens":9,"n_ctx":8}}', 400);
    const problem = await all().catch((error: unknown) => error);
    expect(problem).toBeInstanceOf(ServerError);
    expect(problem).toMatchObject({ status: 400, message: "too long", code: "context_length_exceeded", detail: { n_ctx: 8 } });
  });
  test("refused without JSON is still told", async () => {
    serve("<h1>Bad gateway</h1>", 502);
    await expect(all()).rejects.toThrow("<h1>Bad gateway</h1>");
  });
});
