import { describe, expect, test } from "vitest";
import { EventStream } from "../src/server/sse";

describe("server-sent events", () => {
  const text = 'data: {"a":1}\n\n: ping\n\nevent: x\ndata: one\r\ndata:two\r\n\r\ndata: [DONE]\n\ndata: never finished';
  const whole = ['{"a":1}', "one\ntwo", "[DONE]"];
  test("data of complete events, in order", () => {
    expect(new EventStream().push(text)).toEqual(whole);
  });
  test("cut anywhere, they are the same", () => {
    for (let cut = 0; cut <= text.length; cut += 1) {
      const stream = new EventStream();
      expect([...stream.push(text.slice(0, cut)), ...stream.push(text.slice(cut))]).toEqual(whole);
    }
  });
});
