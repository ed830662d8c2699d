/** Directions of the residual stream that the server keeps, and tests of them (docs/formats/direction.md). */
import type { How, Kind } from "../trace";
import { vectorIn } from "../vectors";
import { json, request } from "./http";

export const DIRECTIONS = "/ouvert/directions";
export const DIRECTION_TESTS = "/ouvert/direction-tests";

/** What is known of a direction. `norms`: of a typical residual stream after each layer; `strength`: as a share of it. */
export interface DirectionRecord {
  name: string;
  layers: number[]; // of which it has vectors
  chosen: number; // the layer that was chosen for it
  width: number;
  norms?: number[];
  strength?: number;
  auc?: { held_out?: number };
  model?: { name?: string; family?: string; parameters?: number }; // for which it was made; imported ones do not say
}

/** What one edit with a direction did, beside random directions of the same length. */
export interface TestedEdit {
  edit: "add" | "subtract" | "project_out";
  effect: number;
  error: number;
  random_mean: number;
  random_low: number;
  random_high: number;
  beyond_random: boolean;
  damage: number; // KL on neutral text, nats a token
  damage_random: number;
}

export interface DirectionTest {
  view: "direction_test";
  kind: Kind;
  how: How;
  layer: number;
  strength: number;
  of: string;
  less: string;
  prompts: number;
  randoms: number;
  before: number;
  edits: TestedEdit[];
}

/** All of them. One that cannot be read is left out. */
export async function listDirections(): Promise<DirectionRecord[]> {
  const { data } = await json<{ data: { name: string }[] }>(request("GET", DIRECTIONS));
  const known = await Promise.allSettled(data.map(({ name }) => json<DirectionRecord>(request("GET", `${DIRECTIONS}/${encodeURIComponent(name)}`))));
  return known.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
}

/** Its vector of a layer, of length 1. */
export async function getUnit(name: string, layer: number): Promise<number[]> {
  const file = await (await request("GET", `${DIRECTIONS}/${encodeURIComponent(name)}/file?as=safetensors`)).arrayBuffer();
  const vector = vectorIn(file, `layer.${layer}`);
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
}
