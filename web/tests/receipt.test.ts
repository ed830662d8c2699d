import { expect, test } from "vitest";
import { adapterInWords, adaptersIn, connectionsOf, refusedOf, speedOf } from "../src/receipt";

test("a receipt that does not count connections is not read as none", () => {
  expect(connectionsOf({})).toBeUndefined();
  expect(connectionsOf({ connections: { attempted: 0 } })).toBeUndefined();
  expect(connectionsOf({ connections: { attempted: 0, allowed: 0, denied: 0 } })).toEqual({ attempted: 0, allowed: 0, denied: 0 });
  expect(speedOf({ tokens: { output: 11 }, seconds: { decode: 2 } })).toBe(5);
  expect(speedOf({ tokens: { output: 1 }, seconds: { decode: 0 } })).toBeUndefined();
});

test("what was refused is counted over all messages, and only where a receipt says so", () => {
  expect(refusedOf({ messages: [{ role: "user", sent: 0, refused: 7 }, { role: "user", sent: 3, refused: 0 }, { role: "system", refused: 2 }] })).toBe(9);
  expect(refusedOf({})).toBe(0);
});

test("adapters are read with their state, in order, and an unknown state is shown as it is", () => {
  expect(adaptersIn({})).toEqual([]);
  const receipt = { adapters: [{ name: "tickets", state: "regression", digest: "sha256:1" }, { digest: "sha256:2" }] };
  expect(adaptersIn(receipt)).toEqual([
    { name: "tickets", state: "regression", digest: "sha256:1" },
    { name: "?", state: "?", digest: "sha256:2" },
  ]);
  const states = { regression: "worse than before" };
  expect(adaptersIn(receipt).map((each) => adapterInWords(each, states))).toEqual(["tickets, worse than before", "?, ?"]);
});
