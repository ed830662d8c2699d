/** What the page knows, and what a person can make it do. Components read signals and call these functions. */
import { batch, computed, effect, signal, type Signal } from "@preact/signals";
import * as tree from "./conversation";
import type { Conversation, Ended, Message, Receipt, Settings, Usage } from "./conversation";
import * as server from "./server";
import { ServerError, type Listing, type ModelRecord } from "./server";
import { words } from "./words";

/** An answer that is being written. Only the message that shows it follows `live`. */
export interface Run {
  message: string;
  live: Signal<Live>;
  stop: AbortController;
}

export interface Live {
  text: string;
  reasoning: string;
  began: number; // milliseconds, as performance.now() counts
  thinkingBegan?: number;
  thinkingEnded?: number;
}

export interface Notice {
  text: string;
  isError: boolean;
}

export const current = signal<Conversation>(tree.emptyConversation(rememberedSettings()));
export const runs = signal<ReadonlyMap<string, Run>>(new Map());
export const listing = signal<Listing>({ conversations: [], damaged: [] });
export const query = signal("");
export const models = signal<ModelRecord[] | null>(null); // null: not known yet
export const notice = signal<Notice | null>(null);
export const announcement = signal(""); // spoken by screen readers
export const keyWanted = signal(false);
export const panel = signal<Panel | null>(null);
export const sidebarShown = signal(window.innerWidth >= 900);
export const editing = signal<string | null>(null);

export type Panel =
  | { kind: "settings" | "shortcuts" | "models" }
  | { kind: "receipt"; message: string }
  | { kind: "rename" | "delete"; id: string; title: string }
  | { kind: "delete-all" }
  | { kind: "link"; href: string };

export const path = computed(() => tree.pathTo(current.value, current.value.leaf));
export const run = computed(() => runs.value.get(current.value.id));
export const settings = computed<Settings>(() => current.value.settings ?? {});
export const model = computed<ModelRecord | undefined>(() => {
  const known = models.value ?? [];
  return known.find((each) => each.id === settings.value.model) ?? known.find((each) => each.state === "loaded") ?? known[0];
});
export const effort = computed<string | undefined>(() => {
  const efforts = model.value?.efforts ?? [];
  if (efforts.length === 0) return undefined;
  const chosen = settings.value.effort;
  return chosen && efforts.includes(chosen) ? chosen : efforts.includes("medium") ? "medium" : efforts[0];
});

const REMEMBERED = "ouvert.settings";

function rememberedSettings(): Settings {
  try {
    return JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}") as Settings;
  } catch {
    return {}; // written by hand or by another version: defaults are right
  }
}

/** Settings belong to a conversation; a new one begins with those used last, but for the system prompt. */
export function changeSettings(change: Settings): void {
  const changed = { ...settings.value, ...change };
  current.value = { ...current.value, settings: changed };
  const { system: _, ...lasting } = changed;
  localStorage.setItem(REMEMBERED, JSON.stringify(lasting));
  if (current.value.messages.length > 0) void save(current.value.id);
}

export function complain(problem: unknown, say: (why: string) => string = (why) => why): void {
  if (problem instanceof ServerError && problem.status === 401) {
    keyWanted.value = true;
    return;
  }
  notice.value = { text: why(problem, say), isError: true };
}

function why(problem: unknown, say: (why: string) => string = (text) => text): string {
  if (problem instanceof ServerError && problem.status === 0) return words.value.unreachable;
  return say(problem instanceof Error ? problem.message : String(problem));
}

// Conversations that are open: the one in view and those whose answers are still being written.

const open = new Map<string, Conversation>();

function valueOf(id: string): Conversation | undefined {
  return current.value.id === id ? current.value : open.get(id);
}

function update(id: string, change: (conversation: Conversation) => Conversation): void {
  const value = valueOf(id);
  if (!value) return; // deleted while its answer was being written
  const changed = change(value);
  if (current.value.id === id) current.value = changed;
  if (open.has(id) || runs.value.has(id)) open.set(id, changed);
}

// Saving: one write at a time for each conversation; what changes meanwhile is written after it.

const waiting = new Map<string, Conversation>();
const revisions = new Map<string, number>(); // of what the server keeps, as far as this window knows
const saving = new Map<string, Promise<void>>();

export async function save(id: string): Promise<void> {
  const value = valueOf(id);
  if (!value) return; // deleted meanwhile
  waiting.set(id, value);
  const busy = saving.get(id) ?? writeWaiting(id);
  saving.set(id, busy);
  await busy;
}

async function writeWaiting(id: string): Promise<void> {
  try {
    for (let value = waiting.get(id); value; value = waiting.get(id)) {
      waiting.delete(id);
      await write(value);
    }
  } catch (problem) {
    complain(problem, words.value.savingFailed);
  } finally {
    saving.delete(id); // at once: whoever saves from here on begins anew
  }
  await refreshList();
}

async function write(value: Conversation): Promise<void> {
  for (;;) {
    try {
      const sent = { ...withoutEmptyTitle(value), revision: revisions.get(value.id) ?? value.revision };
      const { revision } = await server.putConversation(sent);
      revisions.set(value.id, revision);
      return;
    } catch (problem) {
      if (!(problem instanceof ServerError && problem.status === 409)) throw problem;
      const theirs = await server.getConversation(value.id);
      revisions.set(value.id, theirs.revision);
      update(value.id, (mine) => tree.merge(mine, theirs));
      value = tree.merge(value, theirs);
      // What was to be saved next was taken before: saved as it is, it would undo the merge.
      const next = waiting.get(value.id);
      if (next) waiting.set(value.id, tree.merge(next, theirs));
      notice.value = { text: words.value.mergedWindows, isError: false };
    }
  }
}

const withoutEmptyTitle = (value: Conversation): Conversation =>
  value.title ? value : { ...value, title: tree.titleFor(value.messages[0]?.text ?? "", value.messages[0]?.attachments) };

let listRequest = new AbortController();

export async function refreshList(): Promise<void> {
  listRequest.abort();
  listRequest = new AbortController();
  try {
    listing.value = await server.listConversations(query.value, listRequest.signal);
  } catch (problem) {
    if (!isAbort(problem)) complain(problem);
  }
}

const isAbort = (problem: unknown) => problem instanceof DOMException && problem.name === "AbortError";

export async function refreshModels(): Promise<void> {
  try {
    models.value = await server.listModels();
  } catch (problem) {
    models.value ??= [];
    complain(problem);
  }
}

export function startNew(): void {
  batch(() => {
    current.value = tree.emptyConversation(rememberedSettings());
    editing.value = null;
    panel.value = null;
    if (window.innerWidth < 900) sidebarShown.value = false;
  });
  location.hash = "";
  focusComposer();
}

export async function show(id: string, message?: string): Promise<void> {
  try {
    await saving.get(id);
    const value = (runs.value.has(id) && open.get(id)) || (await server.getConversation(id));
    revisions.set(id, Math.max(value.revision, revisions.get(id) ?? 0));
    batch(() => {
      current.value = message && tree.find(value, message) ? { ...value, leaf: tree.newestLeaf(value, message) } : value;
      editing.value = null;
      if (window.innerWidth < 900) sidebarShown.value = false;
    });
    location.hash = id;
  } catch (problem) {
    complain(problem, words.value.loadFailed);
  }
}

export async function rename(id: string, title: string): Promise<void> {
  const cut = title.trim().slice(0, tree.LONGEST_TITLE);
  if (!cut) return;
  try {
    if (valueOf(id)) {
      update(id, (value) => ({ ...value, title: cut }));
      await save(id);
    } else {
      const kept = await server.putConversation({ ...(await server.getConversation(id)), title: cut });
      revisions.set(id, kept.revision);
      await refreshList();
    }
  } catch (problem) {
    complain(problem, words.value.savingFailed);
  }
}

export async function remove(id: string): Promise<void> {
  try {
    runs.value.get(id)?.stop.abort();
    if (current.value.id === id) startNew();
    open.delete(id);
    waiting.delete(id);
    await saving.get(id);
    await server.deleteConversation(id);
    revisions.delete(id);
    await refreshList();
  } catch (problem) {
    complain(problem);
  }
}

export async function removeAll(): Promise<void> {
  try {
    for (const each of runs.value.values()) each.stop.abort();
    open.clear();
    waiting.clear();
    startNew();
    await Promise.all(saving.values());
    revisions.clear();
    await server.deleteAllConversations();
    await refreshList();
  } catch (problem) {
    complain(problem);
  }
}

// Asking

export function send(text: string, attachments: tree.Attachment[]): void {
  ask(current.value.leaf, text, attachments);
}

/** Another wording of a question: a branch beside the old one. */
export function resend(message: Message, text: string): void {
  editing.value = null;
  ask(message.parent, text, message.attachments ?? []);
}

function ask(parent: string | null, text: string, attachments: tree.Attachment[]): void {
  const question: Message = {
    id: tree.newId(),
    parent,
    role: "user",
    text,
    created: new Date().toISOString(),
    ...(attachments.length > 0 ? { attachments } : {}),
  };
  current.value = withoutEmptyTitle(tree.withMessage(current.value, question));
  void answer(question.id);
}

/** Another answer to the same question: a branch beside the old one. */
export function regenerate(message: Message): void {
  if (message.parent !== null) void answer(message.parent);
}

export function stop(): void {
  run.value?.stop.abort();
}

const SAVE_EVERY = 5000; // milliseconds, while an answer is written

/** Let the model answer the question of that id in the conversation in view. */
async function answer(question: string): Promise<void> {
  const chosen = model.value;
  if (!chosen || run.value) return;
  const id = current.value.id;
  const message: Message = {
    id: tree.newId(),
    parent: question,
    role: "assistant",
    text: "",
    created: new Date().toISOString(),
    model: chosen.id,
  };
  const request = {
    model: chosen.id,
    messages: tree.toWire(tree.pathTo(current.value, question), settings.value.system),
    effort: effort.value,
    sampling: settings.value.sampling,
  };
  const live = signal<Live>({ text: "", reasoning: "", began: performance.now() });
  const started: Run = { message: message.id, live, stop: new AbortController() };
  batch(() => {
    current.value = tree.withMessage(current.value, message);
    open.set(id, current.value);
    runs.value = new Map(runs.value).set(id, started);
    announcement.value = words.value.announceAnswering;
  });
  if (location.hash !== `#${id}`) location.hash = id;
  void save(id);
  const outcome = await follow(request, started, () => {
    update(id, (value) => tree.withChanged(value, message.id, soFar(live.value)));
    void save(id);
  });
  batch(() => {
    update(id, (value) => tree.withChanged(value, message.id, outcome));
    const remaining = new Map(runs.value);
    remaining.delete(id);
    runs.value = remaining; // `open` still holds it, until it is saved
    announcement.value = spoken(outcome);
  });
  await save(id);
  open.delete(id);
  void refreshModels();
}

function spoken(outcome: Partial<Message>): string {
  if (outcome.ended === "cancelled") return words.value.announceStopped;
  if (outcome.ended === "error") return `${words.value.announceFailed} ${outcome.error ?? ""}`;
  return words.value.announceDone(String((outcome.text ?? "").split(/\s+/).filter(Boolean).length));
}

function soFar({ text, reasoning, thinkingBegan, thinkingEnded }: Live): Partial<Message> {
  return {
    text: text.toWellFormed(),
    ...(reasoning ? { reasoning: reasoning.toWellFormed() } : {}),
    ...(thinkingBegan === undefined
      ? {}
      : { thinking_seconds: Math.round((thinkingEnded ?? performance.now()) - thinkingBegan) / 1000 }),
  };
}

/** Follow an answer to its end, whatever the end is. The screen is brought up to date once a frame at most. */
async function follow(request: server.Request, { live, stop }: Run, keep: () => void): Promise<Partial<Message>> {
  let now = live.value;
  let ended: Ended = "error";
  let error: string | undefined;
  let receipt: Receipt | undefined;
  let usage: Usage | undefined;
  let frame = 0;
  let saved = performance.now();
  const show = () => {
    frame = 0;
    live.value = now;
  };
  try {
    for await (const event of server.streamAnswer(request, stop.signal)) {
      switch (event.kind) {
        case "reasoning":
          if (now.thinkingBegan === undefined) announcement.value = words.value.announceThinking;
          now = { ...now, reasoning: now.reasoning + event.text, thinkingBegan: now.thinkingBegan ?? performance.now() };
          break;
        case "text":
          if (now.thinkingBegan !== undefined) now = { ...now, thinkingEnded: now.thinkingEnded ?? performance.now() };
          now = { ...now, text: now.text + event.text };
          break;
        case "finished":
          ended = event.reason === "length" ? "length" : "stop";
          break;
        case "usage":
          usage = event.usage;
          break;
        case "receipt":
          receipt = event.receipt;
          break;
      }
      frame ||= document.hidden ? window.setTimeout(show, 250) : requestAnimationFrame(show);
      if (performance.now() - saved > SAVE_EVERY) {
        saved = performance.now();
        show();
        keep();
      }
    }
    if (ended === "error") error = words.value.endedError;
  } catch (problem) {
    ended = isAbort(problem) ? "cancelled" : "error";
    if (ended === "error") error = why(problem);
    if (problem instanceof ServerError && problem.status === 401) keyWanted.value = true;
  }
  live.value = now;
  return {
    ...soFar(now),
    ended,
    ...(error === undefined ? {} : { error }),
    ...(receipt ? { receipt } : {}),
    ...(usage ? { usage } : {}),
  };
}

/** Show another version of a message, at the newest end of its branch. */
export function showVersion(message: Message): void {
  current.value = { ...current.value, leaf: tree.newestLeaf(current.value, message.id) };
  const all = tree.siblings(current.value, message);
  announcement.value = words.value.announceVersion(all.findIndex((each) => each.id === message.id) + 1, all.length);
  void save(current.value.id);
}

export function focusComposer(): void {
  requestAnimationFrame(() => document.querySelector<HTMLTextAreaElement>("#composer")?.focus());
}

// Appearance

export type Theme = "system" | "light" | "dark";
export const theme = signal<Theme>((localStorage.getItem("ouvert.theme") as Theme | null) ?? "system");
effect(() => {
  localStorage.setItem("ouvert.theme", theme.value);
  document.documentElement.dataset.theme = theme.value;
});

let searchDelay = 0;
effect(() => {
  query.value;
  clearTimeout(searchDelay);
  searchDelay = window.setTimeout(() => void refreshList(), 150);
});
