import { expect, test } from "vitest";
import { readNumber } from "../src/components/panels/sampling-fields";

test("a setting is a number in its range or nothing", () => {
  const share = { low: 0, high: 2, step: 0.05 };
  expect(["", " ", "0", "1,5", "2.1", "x", "1e999"].map((text) => readNumber(text, share))).toEqual([undefined, undefined, 0, 1.5, null, null, null]);
  expect(readNumber("1.5", { low: 0, high: 9, step: 1 })).toBeNull();
});
