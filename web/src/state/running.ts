/** Runs of agents: begun as an answer, followed while they go on, decided when they ask, ended, and listed. */
import { batch, signal } from "@preact/signals";
import { placed } from "../citations";
import { asSent, find, pathTo, withChanged, type Ended, type Message } from "../conversation";
import { beginRun, cancelRun, decideRun, getEvents, getRun, listRuns, removeRun, resumeRun, type AgentFacts, type RunEvent, type RunFacts, type Said } from "../server/agents";
import { isAbort } from "../server/http";
import { acting } from "../words/agents";
import { announcement, errorText, showError } from "./notices";
import { openConversation, update, type Generation } from "./open-conversations";
import { save } from "./saving";
import { panel } from "./view";

const LOOK_MILLISECONDS = 400;

/** A run as far as this page has seen it. `fault`: why it cannot be shown. */
export interface SeenRun {
  facts: RunFacts;
  events: RunEvent[];
}

export const seenRuns = signal<ReadonlyMap<string, SeenRun>>(new Map());
export const runFaults = signal<ReadonlyMap<string, string>>(new Map());
export const pastRuns = signal<RunFacts[] | null>(null); // null: not known yet
const followed = new Map<string, Promise<void>>();

export const isOver = ({ state }: RunFacts): boolean => state !== "running" && state !== "waiting";
/** Somebody or something has to act before it goes on. */
export const isUnderWay = ({ going_on }: RunFacts): boolean => going_on === true;

/** What the server has of it now. Throws ServerError. */
async function look(id: string): Promise<RunFacts> {
  const facts = await getRun(id); // first: events that follow are of a later state, never an earlier one
  const known = seenRuns.value.get(id)?.events ?? [];
  const fresh = await getEvents(id, known.at(-1)?.n ?? -1);
  const at = known.at(-1)?.n ?? -1; // another look may have been faster
  const events = [...known, ...fresh.filter(({ n }) => n > at)];
  seenRuns.value = new Map(seenRuns.value).set(id, { facts, events });
  return facts;
}

/** Look at it until it waits, is over or was interrupted. Raises nothing: what is wrong is in `runFaults`. */
export function follow(id: string): Promise<void> {
  const mine = followed.get(id) ?? following(id).finally(() => followed.delete(id));
  followed.set(id, mine);
  return mine;
}

async function following(id: string): Promise<void> {
  const others = new Map(runFaults.value);
  if (others.delete(id)) runFaults.value = others;
  try {
    for (let facts = await look(id); isUnderWay(facts); facts = await look(id)) await new Promise((go) => setTimeout(go, LOOK_MILLISECONDS));
    const { waits_for: question, state } = await look(id); // its last events were written before it ended
    const say = acting.value;
    announcement.value = question ? say.announceAsked(question.tool) : `${say.ended}: ${say.states[state] ?? state}`;
  } catch (problem) {
    runFaults.value = new Map(runFaults.value).set(id, errorText(problem));
  }
}

/** The agent answers the question of that id: a run begins. What the message is at its end, or at its first question. */
export async function runAgent(agent: AgentFacts, conversation: string, question: string, { message, controller }: Generation): Promise<Partial<Message>> {
  const open = openConversation(conversation);
  const path = open ? pathTo(open, question) : [];
  const asked = path.at(-1);
  try {
    const { id } = await beginRun(agent.name, asked ? asSent(asked) : "", path.slice(0, -1).filter(({ text }) => text).map(said));
    controller.signal.addEventListener("abort", () => void endRun(id));
    if (controller.signal.aborted) void endRun(id);
    update(conversation, (each) => withChanged(each, message, { run: id }));
    void save(conversation);
    await follow(id);
    return { text: "", run: id, ...outcomeOf(id) };
  } catch (problem) {
    return isAbort(problem) ? { ended: "cancelled" } : { text: "", ended: "error", error: errorText(problem) };
  }
}

const said = (message: Message): Said => ({ role: message.role, content: asSent(message) });

const ENDS: Record<string, Ended> = { done: "stop", budget: "length", cancelled: "cancelled" };

/** What a message is once its run is over; nothing before. */
function outcomeOf(id: string): Partial<Message> {
  const seen = seenRuns.value.get(id);
  if (!seen || !isOver(seen.facts)) return {};
  const { state, answer, citations, tainted } = seen.facts;
  const text = state === "done" ? (answer ?? "") : "";
  const receipt = seen.events.findLast(({ event }) => event === "answer")?.receipt;
  return {
    text,
    ended: ENDS[state] ?? "stop",
    ...(citations?.length ? { citations: citations.map((each) => placed(each, text)) } : {}),
    ...(receipt ? { receipt: { ...receipt, agent: { run: id, state, tainted } } } : {}),
  };
}

/** A run went on while nobody looked, or after a verdict: what came of it is put into the answer that began it. */
export function settle(conversation: string, message: string, run: string): void {
  const open = openConversation(conversation);
  const outcome = outcomeOf(run);
  if (!open || outcome.ended === undefined || find(open, message)?.ended !== undefined) return;
  update(conversation, (each) => withChanged(each, message, outcome));
  void save(conversation);
}

/** Say yes or no to what it waits with, and see how it goes on. */
export const decide = (id: string, call: string, allowed: boolean) => changing(id, () => decideRun(id, call, allowed));
/** After the server was stopped while it went on. */
export const goOn = (id: string) => changing(id, () => resumeRun(id));
export const endRun = (id: string) => changing(id, () => cancelRun(id));

async function changing(id: string, change: () => Promise<RunFacts>): Promise<void> {
  try {
    await change();
  } catch (problem) {
    showError(problem);
  }
  await followed.get(id);
  await follow(id);
}

export async function refreshRuns(): Promise<void> {
  try {
    pastRuns.value = await listRuns();
  } catch (problem) {
    pastRuns.value ??= [];
    showError(problem);
  }
}

/** With its record and its files. */
export async function deleteRun(id: string): Promise<void> {
  try {
    await removeRun(id);
    const others = new Map(seenRuns.value);
    others.delete(id);
    batch(() => {
      seenRuns.value = others;
      panel.value = { kind: "runs" };
    });
  } catch (problem) {
    showError(problem);
  }
  await refreshRuns();
}
