/** A curve of losses over steps, as points of an SVG polyline. */

/** A step's loss, or what was measured of examples held back. */
export interface LossRow {
  step: number;
  loss?: number;
  held_out?: number;
}

export interface Curve {
  points: string;
  last: number;
}

/** The rows that have this value, in a box of that size: the highest at the top, 0 at the bottom. Undefined for fewer than two. */
export function curve(rows: readonly LossRow[], of: "loss" | "held_out", width: number, height: number, highest: number, steps: number): Curve | undefined {
  const seen = rows.flatMap((row) => (row[of] === undefined ? [] : [[row.step, row[of]] as const]));
  const last = seen.at(-1);
  if (seen.length < 2 || last === undefined) return undefined;
  const at = (step: number, value: number) => `${((step / Math.max(steps, 1)) * width).toFixed(1)},${(height - (value / (highest || 1)) * height).toFixed(1)}`;
  return { points: seen.map(([step, value]) => at(step, value)).join(" "), last: last[1] };
}

/** The highest of both losses. */
export const highestOf = (rows: readonly LossRow[]): number => Math.max(0, ...rows.flatMap((row) => [row.loss ?? 0, row.held_out ?? 0]));
