/** Rounds of a comparison: answers side by side, votes on them, and one answer as another model reads it (docs/formats/comparison.md). */
import { json, request, ServerError } from "./http";
import { EventStream } from "./sse";

export const COMPARISON = "/ouvert/comparison";

export interface Question {
  id: string;
  row: string;
  item: string;
  language: string;
  prompt: string; // its beginning
}

export interface Overview {
  columns: number; // there may be so many
  takes_own_questions: boolean;
  questions: Question[];
  left_out: number;
}

export type Verdict = "first" | "second" | "third" | "fourth" | "tie" | "both_bad";

/** `labels` and `rereads` (which of them can read here) come with the vote. */
export interface Round {
  id: string;
  state: "answering" | "answered" | "failed" | "voting" | "voted" | "revealed";
  prompt: string;
  columns: number;
  texts?: string[];
  reasons?: string[];
  labels?: string[];
  rereads?: boolean[];
  counted?: boolean;
  fault?: string;
}

export type RoundEvent = { kind: "round"; round: Round } | { kind: "words"; words: (string | null)[] } | { kind: "done"; round: Round };

export interface Alternative {
  text: string;
  logprob: number;
}

/** A token as the writer and the reader see it, in this order. */
export interface RereadToken {
  text: string;
  logprobs: [number, number];
  top: [Alternative[], Alternative[]];
  rest: [number, number];
}

export interface RereadWord {
  text: string;
  bits: [number | null, number];
}

export type Reread =
  | { same_tokens: true; tokens: RereadToken[]; divergence: number | null }
  | { same_tokens: false; words: RereadWord[] };

export interface Ranked {
  label: string;
  votes: number;
  rating: number;
  low: number;
  high: number;
}

/** `fewest`: votes of the model that has the fewest; a ranking comes with `minimum` for each, and where all are connected. */
export interface Standings {
  votes: number;
  voters: number;
  fewest: number;
  minimum: number;
  connected: boolean;
  ranking: Ranked[];
}

export const getOverview = () => json<Overview>(request("GET", COMPARISON));
export const getStandings = () => json<Standings>(request("GET", `${COMPARISON}/standings`));
export const castVote = (round: string, verdict: Verdict, voter: string, reason: string) => json<Round>(request("POST", `${COMPARISON}/rounds/${round}/vote`, { verdict, voter, reason }));
export const revealRound = (round: string) => json<Round>(request("POST", `${COMPARISON}/rounds/${round}/reveal`, undefined));
export const getReread = (round: string, side: number, by: number) => json<Reread>(request("POST", `${COMPARISON}/rounds/${round}/reread`, { side, by }));
export const getContinuation = async (round: string, side: number, by: number, position: number) =>
  (await json<{ text: string }>(request("POST", `${COMPARISON}/rounds/${round}/continuation`, { side, by, position }))).text;

/** What is asked: one of the comparison's questions, or the reader's own. */
export type Asked = { question: string } | { prompt: string };

/** A round as it is answered. Aborting `signal` ends it. */
export async function* streamRound(asked: Asked, columns: number, signal: AbortSignal): AsyncGenerator<RoundEvent> {
  const response = await request("POST", `${COMPARISON}/rounds`, { ...asked, columns }, signal);
  if (!response.body) throw new ServerError(response.status, "The round has no body.");
  const stream = new EventStream();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let ended = false;
  try {
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      for (const data of stream.push(piece.value)) {
        const event = eventOf(JSON.parse(data) as WireEvent);
        ended ||= event.kind === "done";
        yield event;
      }
    }
  } catch (problem) {
    throw problem instanceof TypeError ? new ServerError(0, String(problem)) : problem; // browsers call a broken connection so
  } finally {
    reader.cancel().catch(() => undefined); // already closed: nothing is left to cancel
  }
  if (!ended) throw new ServerError(0, "The connection closed before the answers were complete.");
}

type WireEvent = { words: (string | null)[] } | (Round & { done?: true }) | { error: { message: string; code?: string } };

function eventOf(event: WireEvent): RoundEvent {
  if ("error" in event) throw new ServerError(200, event.error.message, event.error.code);
  if ("words" in event) return { kind: "words", words: event.words };
  return { kind: event.done ? "done" : "round", round: event };
}
