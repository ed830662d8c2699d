/** What a change does, in numbers: to the answer that was given, and to a text that has nothing to do with it. */
import type { Edit, Positions } from "../edits";
import { getView, TRACES } from "../server/traces";
import type { Trace } from "../trace";
import { letGo, serverTask } from "./work";

/** Differences of the mean log-probability of a text's own tokens, in nats a token: below 0, the text became less likely. */
export interface Measure {
  change: number;
  error: number; // standard error over the tokens
  low: number; // where another random change of the same size would lie, with 95 %
  high: number;
}

export interface Measured {
  answer: Measure;
  neutral: Measure;
  controls: number;
}

/** Three sentences about nothing that people ask models about. */
const NEUTRAL =
  "The bus to the station leaves at ten past eight and stops at the market, the school and the bridge. On Saturdays it runs every hour, on Sundays it does not run at all. Tickets are sold by the driver; a day ticket costs as much as three single ones.";
// Two-sided 95 % quantiles of Student's t, by degrees of freedom.
const T_95: Record<number, number> = { 1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776 };

/** `controls`: the same by chance, several times. `positions`: of the conversation that `trace` is of; the neutral text is changed everywhere. */
export async function measured(model: string, trace: Trace, changed: Edit[], controls: Edit[][], positions: Positions, signal: AbortSignal, done: () => void): Promise<Measured> {
  const first = trace.tokens.find(({ part }) => part === "answer")?.place ?? 1;
  const ids = trace.tokens.map(({ id }) => id);
  const run = async (asked: object, edits: Edit[], from: number) => {
    const logprobs = await logprobsOf({ model, ...asked, edits }, from, signal);
    done();
    return logprobs;
  };
  const all = async (asked: object, from: number, placed: (edits: Edit[]) => Edit[]) => {
    const before = await run(asked, [], from);
    const after = await run(asked, placed(changed), from);
    const random: number[][] = [];
    for (const each of controls) random.push(await run(asked, placed(each), from));
    return measureOf(before, after, random);
  };
  return {
    answer: await all({ ids }, first, (edits) => edits.map((each) => ({ ...each, positions: placesOf(positions, first, ids.length) }))),
    neutral: await all({ text: NEUTRAL }, 1, (edits) => edits.map((each) => ({ ...each, positions: "all" as const }))),
    controls: controls.length,
  };
}

/** Of a text that is only read, everything is prompt: so the tokens are named one by one. */
const placesOf = (positions: Positions, first: number, all: number): "all" | number[] =>
  positions === "all" ? "all" : Array.from({ length: positions === "prompt" ? first : all - first }, (_, n) => (positions === "prompt" ? n : first + n));

/** Log-probabilities of a sequence's own tokens, from a place on. */
async function logprobsOf(asked: object, from: number, signal: AbortSignal): Promise<number[]> {
  const task = serverTask(TRACES, { ...asked, record: ["embedding"], positions: "last" }, async (id) => {
    const view = await getView(id, "confidence");
    letGo(TRACES, id);
    return view.logprobs.filter((_, n) => (view.places[n] ?? 0) >= from);
  });
  return task.run(signal, () => undefined);
}

export function measureOf(before: number[], after: number[], random: number[][]): Measure {
  const differences = after.map((each, n) => each - (before[n] ?? 0));
  const ofRandom = random.map((each) => mean(each) - mean(before));
  const reach = ofRandom.length < 2 ? Infinity : (T_95[ofRandom.length - 1] ?? 2.776) * deviation(ofRandom) * Math.sqrt(1 + 1 / ofRandom.length); // of one, nothing can be told
  return { change: mean(differences), error: deviation(differences) / Math.sqrt(Math.max(1, differences.length)), low: mean(ofRandom) - reach, high: mean(ofRandom) + reach };
}

const mean = (values: number[]): number => values.reduce((sum, each) => sum + each, 0) / Math.max(1, values.length);

/** Of a sample. */
function deviation(values: number[]): number {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, each) => sum + (each - middle) ** 2, 0) / Math.max(1, values.length - 1));
}
