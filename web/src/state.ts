/** What the page knows, and what a person can make it do. Components read signals and call these functions. */
import { batch, computed, effect, signal, type Signal } from "@preact/signals";
import * as tree from "./conversation";
import type { Conversation, Ended, Message, Receipt, Settings, Usage } from "./conversation";
import * as server from "./server";
import { ServerError, type Listing, type ModelRecord, type Reading } from "./server";
import { whereIs } from "./where";
import { number, words } from "./words";

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
  reading?: Reading & { at: number }; // how far the conversation was read, and when that was said
  thinkingBegan?: number;
  thinkingEnded?: number;
}

export interface Notice {
  text: string;
  isError: boolean;
}

const REMEMBERED = "ouvert.settings";
const INSTRUCTIONS = "ouvert.instructions";
const PRESETS = "ouvert.presets";
const TITLES = "ouvert.titles";

export const current = signal<Conversation>(tree.emptyConversation(rememberedSettings()));
export const runs = signal<ReadonlyMap<string, Run>>(new Map());
export const listing = signal<Listing>({ conversations: [], damaged: [] });
export const query = signal("");
export const models = signal<ModelRecord[] | null>(null); // null: not known yet
export const notice = signal<Notice | null>(null);
export const announcement = signal(""); // spoken by screen readers
export const keyWanted = signal(false);
export const session = signal<server.Session | null>(null); // null: not known yet
export const panel = signal<Panel | null>(null);
export const sidebarShown = signal(window.innerWidth >= 900);
export const editing = signal<string | null>(null);

/** What the message box of the next conversation begins with. */
export const handedOn = signal<{ text: string; attachments: tree.Attachment[] } | null>(null);

export type Panel =
  | { kind: "settings" | "shortcuts" | "models" }
  | { kind: "receipt"; message: string }
  | { kind: "rename" | "delete"; id: string; title: string }
  | { kind: "delete-all" }
  | { kind: "link"; href: string };

/** Conversations are kept for whoever has a key, or is the owner. Others may talk, and nothing of it stays. */
export const keeps = computed(() => session.value?.reads_stored ?? true);
export const where = computed(() => whereIs(session.value?.opened_from, location));
export const host = location.hostname;

/** Who asks, and from where; then what may be shown to them. */
export async function begin(): Promise<void> {
  try {
    session.value = await server.getSession();
  } catch (problem) {
    complain(problem);
  }
  if (session.value?.needs_key) keyWanted.value = true;
  else await Promise.all([refreshModels(), refreshList()]);
}

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

/** Instructions that every conversation begins with, kept in this browser. */
export const general = signal(localStorage.getItem(INSTRUCTIONS) ?? "");
effect(() => localStorage.setItem(INSTRUCTIONS, general.value));
export const system = computed(() => tree.instructions(general.value, settings.value.system));

/** Instructions, effort and sampling under a name, for any conversation; kept in this browser. */
export interface Preset {
  name: string;
  settings: Pick<Settings, "system" | "effort" | "sampling">;
}

export const presets = signal<Preset[]>(rememberedPresets());
effect(() => localStorage.setItem(PRESETS, JSON.stringify(presets.value)));

/** Whether models give titles to conversations. */
export const titles = signal(localStorage.getItem(TITLES) !== "off");
effect(() => localStorage.setItem(TITLES, titles.value ? "on" : "off"));

// Another window of this browser changed them.
addEventListener("storage", ({ key: name, newValue }) => {
  if (name === INSTRUCTIONS) general.value = newValue ?? "";
  if (name === PRESETS) presets.value = rememberedPresets();
  if (name === TITLES) titles.value = newValue !== "off";
});

function rememberedPresets(): Preset[] {
  try {
    const kept = JSON.parse(localStorage.getItem(PRESETS) ?? "[]") as unknown;
    return Array.isArray(kept) ? (kept as Preset[]).filter((each) => typeof each?.name === "string" && typeof each.settings === "object") : [];
  } catch {
    return []; // written by hand or by another version
  }
}

/** The settings of the conversation in view under that name; an older preset of the name is replaced. */
export function keepPreset(name: string): void {
  const { system: own, effort: wanted, sampling } = settings.value;
  const kept: Preset = { name, settings: { ...(own ? { system: own } : {}), ...(wanted ? { effort: wanted } : {}), ...(sampling ? { sampling } : {}) } };
  presets.value = [...presets.value.filter((each) => each.name !== name), kept].sort((a, b) => a.name.localeCompare(b.name));
}

export function usePreset(name: string): void {
  const found = presets.value.find((each) => each.name === name);
  if (!found) return;
  const { system: _, effort: __, sampling: ___, ...others } = settings.value;
  replaceSettings({ ...others, ...found.settings });
}

export function forgetPreset(name: string): void {
  presets.value = presets.value.filter((each) => each.name !== name);
}

function rememberedSettings(): Settings {
  try {
    return JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}") as Settings;
  } catch {
    return {}; // written by hand or by another version: defaults are right
  }
}

/** Settings belong to a conversation; a new one begins with those used last, but for the system prompt. */
export function changeSettings(change: Settings): void {
  replaceSettings({ ...settings.value, ...change });
}

function replaceSettings(changed: Settings): void {
  current.value = { ...current.value, settings: changed };
  const { system: _, truncation: __, ...lasting } = changed;
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
  if (problem instanceof ServerError && problem.code !== undefined) {
    const { n_prompt_tokens: prompt = 0, n_ctx: context = 0 } = problem.detail;
    const sentence = words.value.faults[problem.code]?.(number(prompt), number(context));
    if (sentence) return say(sentence);
  }
  return say(problem instanceof Error ? problem.message : String(problem));
}

const isTooLong = (problem: unknown): problem is ServerError => problem instanceof ServerError && problem.code === "context_length_exceeded";

const contextOf = (problem: ServerError) => number(problem.detail.n_ctx ?? 0);

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
  if (!value || !keeps.value) return; // deleted meanwhile, or nothing is kept
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
  if (!session.value?.reads_stored) return; // not known yet, or there is nothing for this reader
  listRequest.abort();
  listRequest = new AbortController();
  try {
    listing.value = await server.listConversations(query.value, listRequest.signal);
  } catch (problem) {
    if (!isAbort(problem)) complain(problem);
  }
}

const isAbort = (problem: unknown) => problem instanceof DOMException && problem.name === "AbortError";

/** While an answer is waited for: is its model being loaded, and how far is it? Failing to know is no fault. */
async function watchModels(): Promise<void> {
  try {
    models.value = await server.listModels();
  } catch (problem) {
    if (!(problem instanceof ServerError)) throw problem;
  }
}

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
    focusComposer();
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

/** From here on the oldest turns of this conversation are left out where there is no room; every receipt says it. */
export function leaveOutOldest(isWanted: boolean): void {
  const { truncation: _, ...others } = settings.value;
  replaceSettings(isWanted ? { ...others, truncation: "auto" } : others);
}

/** The model writes a summary, in view like any answer; a new conversation begins with it as a document. */
export async function goOnWithSummary(text: string, attachments: tree.Attachment[]): Promise<void> {
  const before = current.value.id;
  const question = asked(current.value.leaf, words.value.summaryRequest, []);
  const outcome = await answer(question, { truncation: "auto", sampling: { ...settings.value.sampling, max_tokens: SUMMARY_TOKENS } });
  if (outcome?.ended !== "stop" && outcome?.ended !== "length") return; // stopped or failed: the conversation says so
  const summary = { name: words.value.summaryName(valueOf(before)?.title ?? ""), text: outcome.text ?? "" };
  if (current.value.id !== before) return; // somebody looks at another conversation by now
  handedOn.value = { text, attachments: [summary, ...attachments] };
  startNew();
}

const SUMMARY_TOKENS = 500;

function ask(parent: string | null, text: string, attachments: tree.Attachment[]): void {
  void answer(asked(parent, text, attachments));
}

/** A question in the conversation in view; its id. */
function asked(parent: string | null, text: string, attachments: tree.Attachment[]): string {
  const question: Message = {
    id: tree.newId(),
    parent,
    role: "user",
    text,
    created: new Date().toISOString(),
    ...(attachments.length > 0 ? { attachments } : {}),
  };
  current.value = withoutEmptyTitle(tree.withMessage(current.value, question));
  return question.id;
}

/** Another answer to the same question: a branch beside the old one. */
export function regenerate(message: Message): void {
  if (message.parent !== null) void answer(message.parent);
}

export function stop(): void {
  run.value?.stop.abort();
  focusComposer(); // the button that was pressed is gone
}

const SAVE_EVERY = 5000; // milliseconds, while an answer is written

const WATCH_EVERY = 1000; // milliseconds, while an answer has not begun

/** Let the model answer the question of that id in the conversation in view. Hands back how the answer ended. */
async function answer(question: string, otherwise: Partial<server.Request> = {}): Promise<Partial<Message> | undefined> {
  const chosen = model.value;
  if (!chosen || run.value) return;
  entitling.abort();
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
    messages: tree.toWire(tree.pathTo(current.value, question), system.value),
    effort: effort.value,
    sampling: settings.value.sampling,
    truncation: settings.value.truncation,
    ...otherwise,
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
  const watch = window.setInterval(() => {
    const { reading, text, reasoning } = live.value;
    if (reading || text || reasoning) clearInterval(watch);
    else void watchModels();
  }, WATCH_EVERY);
  const outcome = await follow(request, started, () => {
    update(id, (value) => tree.withChanged(value, message.id, soFar(live.value)));
    void save(id);
  });
  clearInterval(watch);
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
  if (outcome.ended === "stop" && !outcome.reasoning && !chosen.toy) void entitle(id, chosen.id);
  return outcome;
}

let entitling = new AbortController();

/** The model words a title for a conversation that has none but the beginning of its first question. */
async function entitle(id: string, by: string): Promise<void> {
  const value = valueOf(id) ?? (await server.getConversation(id));
  const first = value.messages[0];
  if (!titles.value || !first || value.messages.length !== 2 || value.title !== tree.titleFor(first.text, first.attachments)) return;
  entitling = new AbortController();
  try {
    const messages = [...tree.toWire(tree.pathTo(value, value.leaf), system.value), { role: "user" as const, content: words.value.titleRequest }];
    const title = tree.asTitle(await server.say(by, messages, TITLE_TOKENS, entitling.signal));
    if (title) await rename(id, title);
  } catch (problem) {
    // The beginning of the question stays. Somebody who asked on meanwhile comes first.
    if (!isAbort(problem) && !(problem instanceof ServerError)) throw problem;
  }
}

const TITLE_TOKENS = 24;

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
        case "reading":
          now = { ...now, reading: { ...event.reading, at: performance.now() } };
          break;
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
    if (ended === "error") error = request.truncation === "auto" && isTooLong(problem) ? words.value.messageTooLong(contextOf(problem)) : why(problem);
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

/** The message box has the focus, but for screens on which that would open a keyboard unasked. */
export function focusComposer(): void {
  if (matchMedia("(pointer: coarse)").matches) return;
  const focus = () => {
    if (!document.querySelector("dialog, .editor")) document.querySelector<HTMLTextAreaElement>("#composer")?.focus();
  };
  focus(); // at once, for what is typed next
  requestAnimationFrame(focus); // where something was still in front of it
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
