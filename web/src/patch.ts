/** A grid of patches in JSON (docs/formats/patch.md). */
import type { How, Kind } from "./trace";

export interface PatchedPrompt {
  ids: number[];
  tokens: string[];
  metric: number;
}

export interface PatchGrid {
  view: "patch";
  kind: Kind;
  how: How;
  clean: PatchedPrompt;
  corrupted: PatchedPrompt;
  metric: { kind: string; tokens?: { id: number; text: string }[] };
  over: string;
  direction: "denoise" | "noise";
  layers: number[];
  alignment: [number, number][];
  columns: string[];
  effects: number[][]; // [layer][column]
  noise: { donors: number; low: number[][]; high: number[][]; beyond: boolean[][] } | null; // where another random donor would lie, with 95 %
}
