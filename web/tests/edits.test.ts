import { describe, expect, test } from "vitest";
import { controlOf, controlsOf, editsOf, numbersIn, randomFrom, randomUnit, type Change } from "../src/edits";

const length = (values: number[]) => Math.hypot(...values);

describe("a change as data", () => {
  test("a direction is added with its length, taken away with the opposite, and projected out as it is", () => {
    const direction = { layer: 12, unit: [0.6, 0.8], length: 10 };
    expect(editsOf({ kind: "add", ...direction }, "answer")).toEqual([{ operation: "add", tap: "layers.12.out", values: [6, 8], positions: "answer" }]);
    expect(editsOf({ kind: "subtract", ...direction }, "all")[0]?.values).toEqual([-6, -8]);
    expect(editsOf({ kind: "project_out", ...direction }, "all")[0]).toEqual({ operation: "project_out", tap: "layers.12.out", values: [0.6, 0.8], positions: "all" });
  });

  test("heads, experts and whole parts are scaled, and silenced by zero", () => {
    const scale = { kind: "scale" as const, layer: 3, factor: 0.5 };
    expect(editsOf({ ...scale, part: "heads", which: [1, 4] }, "all")).toEqual([{ operation: "scale", tap: "layers.3.attention.mixed", values: [0.5], positions: "all", heads: [1, 4] }]);
    expect(editsOf({ ...scale, part: "experts", which: [17], factor: 0 }, "all")).toEqual([{ operation: "zero", tap: "layers.3.experts.each", positions: "all", experts: [17] }]);
    expect(editsOf({ ...scale, part: "mlp", which: [], factor: 0 }, "all")[0]).toEqual({ operation: "zero", tap: "layers.3.mlp.out", positions: "all" });
  });
});

describe("its random control", () => {
  const sizes = { layers: 6, each: 9 };

  test("is of the same size: a direction of the same length, and not the same one", () => {
    const change: Change = { kind: "add", layer: 2, unit: [1, 0, 0, 0], length: 3 };
    const control = controlOf(change, sizes, randomFrom(1));
    expect(control).toMatchObject({ kind: "add", layer: 2, length: 3 });
    expect(length((control as typeof change & { unit: number[] }).unit)).toBeCloseTo(1, 12);
    expect(control).toEqual(controlOf(change, sizes, randomFrom(1)));
    expect(control).not.toEqual(controlOf(change, sizes, randomFrom(2)));
  });

  test("is as many other heads of the layer; where there are not as many, or all are changed, another layer", () => {
    const change: Change = { kind: "scale", layer: 2, part: "heads", which: [0, 1, 2], factor: 0 };
    for (let seed = 0; seed < 50; seed += 1) {
      const control = controlOf(change, sizes, randomFrom(seed)) as typeof change & { which: number[] };
      expect(control.layer).toBe(2);
      expect(new Set(control.which).size).toBe(3);
      expect(control.which.every((head) => head >= 3 && head < 9)).toBe(true);
      for (const which of [[0, 1, 2, 3, 4], []]) expect((controlOf({ ...change, which }, sizes, randomFrom(seed)) as typeof change).layer).not.toBe(2);
    }
  });

  test("several are all different, and as many as there are", () => {
    const change: Change = { kind: "scale", layer: 2, part: "mlp", which: [], factor: 0 };
    const drawnLayers = (seed: number) => controlsOf(change, sizes, randomFrom(seed), 4).map((each) => each.layer);
    for (let seed = 0; seed < 20; seed += 1) expect(new Set(drawnLayers(seed)).size).toBe(4);
    expect(new Set([0, 1, 2, 3, 4, 5].map((seed) => drawnLayers(seed).join())).size).toBeGreaterThan(4);
    expect(controlsOf(change, { layers: 3, each: 0 }, randomFrom(1), 4).length).toBe(2);
  });

  test("random directions point everywhere alike", () => {
    const random = randomFrom(7);
    const units = Array.from({ length: 400 }, () => randomUnit(8, random));
    const means = units[0]?.map((_, n) => units.reduce((sum, unit) => sum + (unit[n] ?? 0), 0) / units.length) ?? [];
    const squares = units[0]?.map((_, n) => units.reduce((sum, unit) => sum + (unit[n] ?? 0) ** 2, 0) / units.length) ?? [];
    expect(Math.max(...means.map(Math.abs))).toBeLessThan(0.08); // five standard errors
    expect(squares.every((each) => Math.abs(each - 1 / 8) < 0.04)).toBe(true);
  });
});

test("lists of heads are read as people write them, and refused where a head is not there", () => {
  expect(numbersIn("3, 7-9 1", 16)).toEqual([1, 3, 7, 8, 9]);
  expect(numbersIn("", 16)).toEqual([]);
  for (const wrong of ["16", "9-7", "a", "1.5", "-1"]) expect(numbersIn(wrong, 16)).toBeUndefined();
});
