/** Answers that are looked into: what that costs, how far it is, and what was found. Nothing of it is stored. */
import { signal } from "@preact/signals";
import { pathTo, toWire, type Message, type WireMessage } from "../conversation";
import { getTrace, getView, TRACES, type TraceRequest } from "../server/traces";
import { withWords, type Trace } from "../trace";
import type { Source } from "../views/source";
import { current } from "./open-conversations";
import { systemPrompt } from "./settings";
import { letGo, serverTask, Work, type Task, type WorkState } from "./work";

/** A trace that the server holds. */
export interface Held {
  id: string;
  source: Source;
}

const looks = signal<ReadonlyMap<string, WorkState<Held>>>(new Map());
const works = new Map<string, Work<Held>>();

/** How far the look inside the answer with that id is; undefined: nobody looks. */
export const lookingAt = (message: string): WorkState<Held> | undefined => looks.value.get(message);

/** Say what it costs; compute it at once if that is little. */
export function lookInside(message: Message): void {
  const work = new Work(traceTask({ ...requestUpTo(message.parent, message.model), ...(message.receipt ? { receipt: message.receipt } : {}) }), (state) => {
    const changed = new Map(looks.value);
    if (state) changed.set(message.id, state);
    else changed.delete(message.id);
    looks.value = changed;
  });
  works.set(message.id, work);
  void work.ask();
}

export const compute = (message: string): void => void works.get(message)?.begin();

/** Look no longer; what is being computed stops, and the server forgets what it holds. */
export function lookAway(message: string): void {
  const looking = lookingAt(message);
  if (looking?.step === "done") letGo(TRACES, looking.result.id);
  works.get(message)?.stop();
  works.delete(message);
}

/** The conversation up to and with the message of that id, for a model. */
export function requestUpTo(message: string | null, model: string | undefined): TraceRequest & { messages: WireMessage[] } {
  return { model: model ?? "", messages: toWire(pathTo(current.value, message), systemPrompt.value) };
}

export const traceTask = (asked: TraceRequest): Task<Held> => serverTask(TRACES, asked, async (id) => ({ id, source: sourceOf(id, await getTrace(id)) }));

/** Views are computed by the server when somebody asks for them, and kept while the answer is looked into. */
function sourceOf(id: string, trace: Trace): Source {
  const known = new Map<string, Promise<unknown>>();
  return {
    trace: withWords(trace),
    has: (name) => [...known.keys()].some((key) => (JSON.parse(key) as [string])[0] === name),
    layers: () => Array.from({ length: trace.model.layers }, (_, n) => n),
    load(name, ask = {}) {
      const key = JSON.stringify([name, ask]);
      const view = (known.get(key) as ReturnType<typeof getView<typeof name>> | undefined) ?? getView(id, name, ask);
      known.set(key, view);
      view.catch(() => known.delete(key)); // it may be asked for again
      return view;
    },
  };
}
