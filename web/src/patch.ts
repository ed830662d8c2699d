/** A grid of patches in JSON (docs/formats/patch.md). */
import type { Kind } from "./trace";

export interface PatchedPrompt {
  ids: number[];
  tokens: string[];
  metric: number;
}

export interface PatchGrid {
  format: "ouvert.patch/1";
  kind: Kind;
  clean: PatchedPrompt;
  corrupted: PatchedPrompt;
  metric: { kind: string; tokens?: { id: number; text: string }[] };
  over: string;
  direction: "denoise" | "noise";
  layers: number[];
  alignment: [number, number][];
  columns: string[];
  effects: number[][]; // [layer][column]
  noise: { donors: number; low: number[][]; high: number[][]; beyond: boolean[][] } | null;
  price: { cells: number; seconds: number; bytes: number };
  seconds: number;
}
