import { expect, test } from "vitest";
import { vectorIn } from "../src/vectors";

/** As the format has it: the length of the header, the header, the arrays one after the other. */
function file(arrays: Record<string, number[]>, dtype = "F32"): ArrayBuffer {
  let at = 0;
  const header = Object.fromEntries(Object.entries(arrays).map(([name, values]) => [name, { dtype, shape: [values.length], data_offsets: [at, (at += 4 * values.length)] }]));
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + at);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  Object.values(arrays).flat().forEach((value, n) => view.setFloat32(8 + text.length + 4 * n, value, true));
  return bytes.buffer;
}

test("an array is found by its name, wherever it lies", () => {
  const both = file({ "layer.2": [1, 2], "layer.12": [-0.5, 0.25, 4] });
  expect(vectorIn(both, "layer.12")).toEqual([-0.5, 0.25, 4]);
  expect(vectorIn(both, "layer.2")).toEqual([1, 2]);
  expect(() => vectorIn(both, "layer.3")).toThrow("not there");
  expect(() => vectorIn(file({ "layer.2": [1] }, "F16"), "layer.2")).toThrow("F16");
});
