/** Answers side by side: what is asked, the round that is shown, and what the votes say. */
import { batch, computed, signal } from "@preact/signals";
import { castVote, getContinuation, getOverview, getReread, getStandings, revealRound, streamRound, type Asked, type Overview, type Question, type Reread, type Round, type Standings, type Verdict } from "../server/comparisons";
import { isAbort, ServerError } from "../server/http";
import { compared } from "../words/compare";
import { announcement, showError } from "./notices";
import { voter } from "./stored";

/** One side's answer as the model of another reads it; `goesOn`: what that model would have said from a place on. */
export interface Reading {
  side: number;
  by: number;
  found: Reread | null; // null: it is being computed
  at: number;
  goesOn: { position: number; text: string | null } | null;
}

export const ADDRESS = "#/compare";
export const isComparing = signal(location.hash === ADDRESS);
export const overview = signal<Overview | null>(null);
export const missing = signal(""); // why nothing can be compared here
export const round = signal<Round | null>(null);
export const texts = signal<string[]>([]);
export const reading = signal<Reading | null>(null);
export const standings = signal<Standings | null>(null);
export const isBusy = signal(false); // a vote is on its way

export const isAnswering = computed(() => round.value?.state === "answering");
export const mayVote = computed(() => round.value?.state === "answered" && !isBusy.value);
export const isRevealed = computed(() => round.value?.labels !== undefined);

let running: AbortController | null = null;
let nextQuestion = 0;

/** The address says whether answers are compared or a conversation is shown. */
export async function followAddress(): Promise<void> {
  isComparing.value = location.hash === ADDRESS;
  if (isComparing.value && !overview.value) await lookWhatCanBeAsked();
}

async function lookWhatCanBeAsked(): Promise<void> {
  try {
    const found = await getOverview();
    nextQuestion = Math.floor(Math.random() * found.questions.length);
    overview.value = found;
    standings.value = await getStandings();
  } catch (problem) {
    if (problem instanceof ServerError && problem.status === 404) missing.value = problem.message;
    else showError(problem);
  }
}

export async function ask(asked: Asked, columns: number): Promise<void> {
  running?.abort();
  const mine = (running = new AbortController());
  batch(() => {
    round.value = null;
    reading.value = null;
    texts.value = Array<string>(columns).fill("");
  });
  try {
    for await (const event of streamRound(asked, columns, mine.signal)) {
      if (mine.signal.aborted) return;
      if (event.kind === "words") texts.value = texts.value.map((text, side) => text + (event.words[side] ?? ""));
      else
        batch(() => {
          round.value = event.round;
          texts.value = event.round.texts ?? Array<string>(event.round.columns).fill("");
        });
    }
    announcement.value = round.value?.state === "failed" ? compared.value.couldNotAnswer : compared.value.answersAreThere;
  } catch (problem) {
    if (isAbort(problem)) return;
    round.value = null;
    showError(problem);
  }
}

/** The next of the comparison's questions: every reader begins somewhere else, and goes round. */
export function askNext(columns: number): void {
  const questions = overview.value?.questions ?? [];
  const question: Question | undefined = questions[nextQuestion % Math.max(1, questions.length)];
  nextQuestion += 1;
  if (question) void ask({ question: question.id }, columns);
}

export async function vote(verdict: Verdict, reason: string): Promise<void> {
  const current = round.value;
  if (!current || !mayVote.value) return;
  await settle(current, () => castVote(current.id, verdict, voter.value.trim(), reason.trim()));
  try {
    standings.value = await getStandings();
  } catch (problem) {
    showError(problem);
  }
}

export async function reveal(): Promise<void> {
  const current = round.value;
  if (current) await settle(current, () => revealRound(current.id));
}

async function settle(current: Round, act: () => Promise<Round>): Promise<void> {
  isBusy.value = true;
  try {
    const known = await act();
    if (round.value?.id === current.id) round.value = known;
    announcement.value = (known.labels ?? []).map((label, side) => compared.value.sideIs(String(side + 1), label)).join(" ");
  } catch (problem) {
    showError(problem);
  } finally {
    isBusy.value = false;
  }
}

export async function reread(side: number, by: number): Promise<void> {
  const current = round.value;
  if (!current) return;
  const asked: Reading = { side, by, found: null, at: 0, goesOn: null };
  reading.value = asked;
  try {
    const found = await getReread(current.id, side, by);
    if (reading.value === asked) reading.value = { ...asked, found, at: found.same_tokens ? (found.divergence ?? 0) : 0 };
  } catch (problem) {
    if (reading.value === asked) reading.value = null;
    showError(problem);
  }
}

export function lookAt(at: number): void {
  if (reading.value) reading.value = { ...reading.value, at };
}

export async function goOn(position: number): Promise<void> {
  const [current, asked] = [round.value, reading.value];
  if (!current || !asked) return;
  const isStillAsked = () => reading.value?.found === asked.found;
  reading.value = { ...asked, goesOn: { position, text: null } };
  try {
    const text = await getContinuation(current.id, asked.side, asked.by, position);
    if (isStillAsked() && reading.value) reading.value = { ...reading.value, goesOn: { position, text } };
  } catch (problem) {
    if (isStillAsked() && reading.value) reading.value = { ...reading.value, goesOn: null };
    showError(problem);
  }
}
