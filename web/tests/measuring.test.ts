import { expect, test } from "vitest";
import { measureOf } from "../src/state/measuring";

test("the change is the mean difference, with its standard error; beside it, where another random change would lie", () => {
  const { change, error, low, high } = measureOf([-1, -2, -3], [-1.5, -2.5, -3.8], [[-1.1, -2.1, -3.1], [-0.9, -1.9, -2.9]]);
  expect(change).toBeCloseTo(-0.6, 12);
  expect(error).toBeCloseTo(0.1, 12); // deviation sqrt(0.03) over sqrt(3)
  // Means of random changes: -0.1 and +0.1; deviation sqrt(0.02), t of one degree of freedom, sqrt(1 + 1/2).
  expect(high).toBeCloseTo(12.706 * Math.sqrt(0.02) * Math.sqrt(1.5), 9);
  expect(low).toBeCloseTo(-high, 12);
});

test("of one random change, nothing can be told", () => {
  expect(measureOf([-1], [-2], [[-1]])).toMatchObject({ change: -1, low: -Infinity, high: Infinity });
});
