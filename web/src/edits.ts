/** Changes of a model while it computes, as data (docs/formats/edits.md), and the random control beside each. */

/** A change of one named value. */
export interface Edit {
  operation: "add" | "project_out" | "replace" | "scale" | "zero";
  tap: string;
  values?: number[]; // as many as the operation needs
  positions: Positions | number[]; // or the tokens, by their places
  heads?: number[];
  experts?: number[];
}

/** Which tokens are changed: all, those of the conversation, or those of the answer. */
export type Positions = "all" | "prompt" | "answer";

/** A direction is added, taken away or projected out; or some part of a layer is scaled, down to nothing. */
export type Change =
  | { kind: "add" | "subtract" | "project_out"; layer: number; unit: number[]; length: number } // `length` of what is added
  | { kind: "scale"; layer: number; part: Part; which: number[]; factor: number }; // `which` heads or experts; none: all

export type Part = "heads" | "attention" | "mlp" | "experts" | "mixer";

const TAPS: Record<Part, string> = { heads: "attention.mixed", attention: "attention.out", mlp: "mlp.out", experts: "experts.each", mixer: "mixer.out" };

/** What a request asks for. */
export function editsOf(change: Change, positions: Positions): Edit[] {
  if (change.kind !== "scale") {
    const tap = `layers.${change.layer}.out`;
    if (change.kind === "project_out") return [{ operation: "project_out", tap, values: change.unit, positions }];
    const signed = change.kind === "add" ? change.length : -change.length;
    return [{ operation: "add", tap, values: change.unit.map((each) => each * signed), positions }];
  }
  const { part, layer, which, factor } = change;
  const only = which.length === 0 ? {} : part === "heads" ? { heads: which } : part === "experts" ? { experts: which } : {};
  const how = factor === 0 ? { operation: "zero" as const } : { operation: "scale" as const, values: [factor] };
  return [{ ...how, tap: `layers.${layer}.${TAPS[part]}`, positions, ...only }];
}

/** How large the model is, as far as a control is drawn from it. */
export interface Sizes {
  layers: number;
  each: number; // heads or experts of a layer
}

/** The same change by chance: a random direction of the same length, as many other heads or experts, or another layer. */
export function controlOf(change: Change, { layers, each }: Sizes, random: () => number): Change {
  if (change.kind !== "scale") return { ...change, unit: randomUnit(change.unit.length, random) };
  const others = Array.from({ length: each }, (_, n) => n).filter((n) => !change.which.includes(n));
  if (change.which.length > 0 && others.length >= change.which.length) return { ...change, which: drawn(others, change.which.length, random) };
  const elsewhere = Array.from({ length: layers }, (_, n) => n).filter((n) => n !== change.layer);
  return { ...change, layer: drawn(elsewhere, 1, random)[0] ?? change.layer };
}

/** A direction drawn evenly from the sphere: normal numbers, divided by their length. */
export function randomUnit(size: number, random: () => number): number[] {
  const normal = Array.from({ length: size }, () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
  const length = Math.hypot(...normal);
  return normal.map((value) => value / length);
}

/** `count` of these, each once, in ascending order. */
function drawn(from: number[], count: number, random: () => number): number[] {
  const left = [...from];
  return Array.from({ length: Math.min(count, left.length) }, () => left.splice(Math.floor(random() * left.length), 1)[0] ?? 0).sort((a, b) => a - b);
}

/** Several such changes, all different; fewer where there are not as many. */
export function controlsOf(change: Change, sizes: Sizes, random: () => number, count: number): Change[] {
  const found = new Map<string, Change>();
  for (let tries = 0; found.size < count && tries < 20 * count; tries += 1) {
    const control = controlOf(change, sizes, random);
    found.set(JSON.stringify(control), control);
  }
  return [...found.values()];
}

/** Numbers from 0 to 1 that are the same for the same seed, so that a control can be repeated (xorshift, 32 bits). */
export function randomFrom(seed: number): () => number {
  let state = Math.imul(seed ^ (seed >>> 16), 0x85ebca6b); // neighbouring seeds begin far from each other (murmur3's mixing)
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
  state = (state ^ (state >>> 16)) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** "3, 7-9" as numbers below `limit`; undefined where it is no such list. */
export function numbersIn(text: string, limit: number): number[] | undefined {
  const found = new Set<number>();
  for (const part of text.split(/[,\s]+/).filter(Boolean)) {
    const range = /^(\d+)(?:[-–](\d+))?$/.exec(part);
    const [from, to] = [Number(range?.[1]), Number(range?.[2] ?? range?.[1])];
    if (!range || from > to || to >= limit) return undefined;
    for (let n = from; n <= to; n += 1) found.add(n);
  }
  return [...found].sort((a, b) => a - b);
}
