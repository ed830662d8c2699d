/** What a trace and its views look like in JSON (docs/formats/trace.md), and reading them. */

export type Kind = "observation" | "intervention";

export interface TracedToken {
  place: number; // in the sequence, from 0
  id: number;
  text: string;
  part: "prompt" | "answer" | "text";
  message: number | null;
  channel: string | null;
  source: string;
}

/** How a view is computed: a sentence, and the lines of the model's graph. */
export interface How {
  says: string;
  lines: { file: string; first: number; last: number; text: string }[];
}

interface Shown {
  kind: Kind;
  how: How;
}

/** What each id says by itself. */
export type Pieces = Record<string, string>;

/** Of each token but the first, what the model thought of it before it came. Natural logarithms; entropy in nats. */
export interface Confidence extends Shown {
  view: "confidence";
  places: number[];
  ids: number[];
  logprobs: number[];
  entropy: number[];
  ranks: number[];
  alternative_ids: number[][];
  alternative_logprobs: number[][];
  pieces: Pieces;
}

/** What the model would say after each token, read off after each layer: [layer][place]. The last layer is always there. */
export interface Lens extends Shown {
  view: "lens";
  layers: number[];
  places: number[];
  ids: number[][][];
  logprobs: number[][][];
  entropy: number[][];
  came: number[]; // the token that came next; -1: none
  came_logprobs: (number | null)[][];
  came_ranks: number[][];
  pieces: Pieces;
}

/** Where the heads of one layer look. A row of weights and its sink add up to 1. */
export interface Attention extends Shown {
  view: "attention";
  layer: number;
  window: number | null; // tokens that the layer sees, the token itself among them; null: all
  queries: number[]; // places of the tokens that look
  heads: number[];
  places: number[]; // of the tokens that are looked at
  weights: number[][][]; // [query][head][place]
  sinks: number[][] | null; // [query][head]
  at_rest: boolean[][];
  added: number[][][] | null; // the length of what each position adds to the residual stream
}

/** Which experts a mixture chose: [layer][token][choice], best first. */
export interface Experts extends Shown {
  view: "experts";
  layers: number[];
  places: number[];
  experts: number;
  top_k: number;
  chosen: number[][][];
  weights: number[][][];
  counts: number[][]; // [layer][expert]
  load: number[][];
  entropy: number[][]; // [layer][token], of the chosen experts' weights, in nats
  load_entropy: number[];
  agreement: (number | null)[][];
  norms: number[][][] | null;
}

/** The logit of a token after the token at `place`, as a sum. */
export interface Attribution extends Shown {
  view: "attribution";
  place: number;
  token: number;
  logit: number;
  sum: number;
  rounding: number;
  parts: string[];
  values: number[];
  head_layers: number[] | null;
  heads: number[][] | null; // [layer][head]
  head_rest: number[] | null;
  pieces: Pieces;
}

/** The states of a family that scans: [layer][token]. */
export interface States extends Shown {
  view: "states";
  layers: number[];
  places: number[];
  norms: number[][]; // of the state after the token
  time_steps: number[][];
  longest_steps: number[][];
}

/** What reaches one token from those before it, in one layer of a family that scans. */
export interface HiddenAttention extends Shown {
  view: "hidden_attention";
  layer: number;
  query: number;
  places: number[];
  weights: number[];
  added: number[];
  skip: number;
}

/** Stands for a token in a file that was written without its words: there, all ids are -1. */
const HIDDEN = "•";
export const isHidden = (id: number | undefined): boolean => id === -1;

/** What a token says by itself, from the pieces of a view. */
export const pieceOf = (pieces: Pieces, id: number | undefined): string => (id === undefined ? "" : isHidden(id) ? HIDDEN : (pieces[String(id)] ?? `#${id}`));

export const probability = (logprob: number | null | undefined): number => (logprob === null || logprob === undefined ? 0 : Math.exp(logprob));

export interface Trace {
  trace: 1;
  kind: Kind;
  model: { name: string; family: string; layers: number; [name: string]: unknown };
  receipt: string | null;
  tokens: TracedToken[];
  places: number[]; // of the tokens whose values were kept
  recorded: { name: string; shape: number[]; bytes: number }[];
  views: string[]; // that were computed so far
  available: string[]; // all that this model has
  words?: false; // the words were left out of a file
  plan?: { lens_seconds?: number }; // of a server: what the whole lens takes
}

/** The trace with something to read at every token: where a model has no words, their ids, as far as they are told. */
export function withWords(trace: Trace): Trace {
  if (trace.tokens.some(({ text }) => text !== "")) return trace;
  return { ...trace, tokens: trace.tokens.map((token) => ({ ...token, text: isHidden(token.id) ? `${HIDDEN} ` : `#${token.id} ` })) };
}
