import { expect, test } from "vitest";
import { curve, highestOf } from "../src/figures/loss";

const ROWS = [{ step: 0, held_out: 4 }, { step: 1, loss: 3 }, { step: 2, loss: 1 }, { step: 2, held_out: 2 }];

test("a curve has a point for each row that has its value, the highest at the top and 0 at the bottom", () => {
  expect(highestOf(ROWS)).toBe(4);
  expect(curve(ROWS, "loss", 100, 40, 4, 4)).toEqual({ points: "25.0,10.0 50.0,30.0", last: 1 });
  expect(curve(ROWS, "held_out", 100, 40, 4, 4)).toEqual({ points: "0.0,0.0 50.0,20.0", last: 2 });
});

test("one row is no curve, and losses of 0 divide by nothing", () => {
  expect(curve(ROWS.slice(0, 2), "loss", 100, 40, 4, 4)).toBeUndefined();
  expect(curve([{ step: 1, loss: 0 }, { step: 2, loss: 0 }], "loss", 100, 40, highestOf([]), 0)?.points).toBe("100.0,40.0 200.0,40.0");
});
