/** A conversation is a tree of messages; the branch in view is the path from a root to `leaf`. Values, never changed. */
import type { Citation } from "./citations";

export type Role = "user" | "assistant";
export type Ended = "stop" | "length" | "cancelled" | "error";

export interface Attachment {
  name: string;
  text: string;
}

export interface Message {
  id: string;
  parent: string | null;
  role: Role;
  text: string;
  created: string;
  attachments?: Attachment[];
  reasoning?: string;
  thinking_seconds?: number;
  model?: string;
  ended?: Ended;
  error?: string;
  receipt?: Receipt;
  usage?: Usage;
  documents?: string[]; // collections that were asked
  citations?: Citation[];
  run?: string; // of the agent that answered
}

export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
export type Receipt = { [name: string]: Json };

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

/** Numbers that are absent are the model's own defaults. */
export interface Sampling {
  temperature?: number;
  top_p?: number;
  top_k?: number;
  min_p?: number;
  seed?: number;
  max_tokens?: number;
}

export interface Settings {
  model?: string;
  effort?: string;
  system?: string;
  sampling?: Sampling;
  documents?: string[]; // collections that are asked
  truncation?: "auto"; // where the context is full, the oldest turns are left out
}

export interface Conversation {
  ouvert_conversation: 1;
  id: string;
  title: string;
  created?: string;
  updated?: string;
  revision: number;
  settings?: Settings;
  messages: Message[];
  leaf: string | null;
}

export const LONGEST_TITLE = 200;

/** 24 letters and digits from the browser's random numbers. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return Array.from(bytes, (byte) => "abcdefghijklmnopqrstuvwxyz012345"[byte & 31]).join("");
}

export function emptyConversation(settings: Settings): Conversation {
  return { ouvert_conversation: 1, id: newId(), title: "", revision: 0, settings, messages: [], leaf: null };
}

export function find(conversation: Conversation, id: string | null): Message | undefined {
  return id === null ? undefined : conversation.messages.find((message) => message.id === id);
}

/** From the first message to the one named, in order. */
export function pathTo(conversation: Conversation, id: string | null): Message[] {
  const byId = new Map(conversation.messages.map((message) => [message.id, message]));
  const path: Message[] = [];
  for (let at = id === null ? undefined : byId.get(id); at; at = at.parent === null ? undefined : byId.get(at.parent)) path.push(at);
  return path.reverse();
}

/** The alternatives to a message, itself included, oldest first. */
export function siblings(conversation: Conversation, message: Message): Message[] {
  return conversation.messages.filter((other) => other.parent === message.parent && other.role === message.role);
}

/** Follow the newest replies down to the end of a branch. */
export function newestLeaf(conversation: Conversation, id: string): string {
  const reply = conversation.messages.findLast((message) => message.parent === id);
  return reply ? newestLeaf(conversation, reply.id) : id;
}

export function withMessage(conversation: Conversation, message: Message): Conversation {
  return { ...conversation, messages: [...conversation.messages, message], leaf: message.id };
}

export function withChanged(conversation: Conversation, id: string, change: Partial<Message>): Conversation {
  return {
    ...conversation,
    messages: conversation.messages.map((message) => (message.id === id ? { ...message, ...change } : message)),
  };
}

/** What another window kept and what this one has, as one tree. Messages are only ever added, so nothing is lost. */
export function merge(mine: Conversation, theirs: Conversation): Conversation {
  const here = new Map(mine.messages.map((message) => [message.id, message]));
  const there = new Set(theirs.messages.map((message) => message.id));
  const messages = theirs.messages.map((message) => {
    const ours = here.get(message.id);
    return ours && ours.text.length + (ours.reasoning ?? "").length >= message.text.length + (message.reasoning ?? "").length ? ours : message;
  });
  messages.push(...mine.messages.filter((message) => !there.has(message.id)));
  return { ...theirs, ...mine, revision: theirs.revision, messages };
}

/** The beginning of the first question, on one line. */
export function titleFor(text: string, attachments: Attachment[] = []): string {
  const line = (text.trim() || attachments[0]?.name || "").replace(/\s+/g, " ");
  if (line.length <= 60) return line;
  const cut = line.slice(0, 60);
  return `${cut.slice(0, Math.max(30, cut.lastIndexOf(" "))).toWellFormed().replace(/\uFFFD$/, "")}…`;
}

/** A title as a model worded it: one line, without what models put around it. Empty where nothing is left. */
export function asTitle(said: string): string {
  const line = said.trim().split("\n")[0] ?? "";
  const bare = (text: string) => text.replace(/^[\s"'«“*#_-]+|[\s"'»”*_.]+$/gu, "");
  return titleFor(bare(bare(line).replace(/^(title|titre)\s*:/i, "")));
}

/** A message's text as the model gets it: documents first, each under its name, then what was typed. */
export function asSent(message: Message): string {
  const documents = (message.attachments ?? []).map(
    (each) => `<document name="${each.name.replace(/["<>\n]/g, "'")}">\n${each.text}\n</document>`,
  );
  return [...documents, message.text].filter((part) => part !== "").join("\n\n");
}

export interface WireMessage {
  role: "system" | Role;
  content: string;
}

/** What the model is told before the conversation: instructions for all conversations, then those of this one. */
export const instructions = (...given: (string | undefined)[]): string =>
  given.map((each) => each?.trim() ?? "").filter(Boolean).join("\n\n");

/** The messages of a request: the system prompt, then a branch. Answers that failed before their first word are left out. */
export function toWire(path: Message[], system: string | undefined): WireMessage[] {
  const said = path.filter((message) => message.role === "user" || message.text !== "");
  const wire: WireMessage[] = said.map((message) => ({ role: message.role, content: asSent(message) }));
  return system?.trim() ? [{ role: "system", content: system }, ...wire] : wire;
}

/** Whether an answer came to no end that anybody noted: the page or the server went away while it was written. */
export const isInterrupted = (message: Message): boolean => message.role === "assistant" && message.ended === undefined;

/** What the marks of an answer lead to. */
const sourcesOf = ({ citations = [] }: Message): string =>
  citations.length === 0 ? "" : `\n${[...new Set(citations.map(({ mark, name, page, paged }) => `- [${mark}] ${name}${paged ? `, ${page}` : ""}`))].join("\n")}\n`;

export function toMarkdown(conversation: Conversation, names: Record<Role | "interrupted", string>): string {
  const parts = pathTo(conversation, conversation.leaf).map((message) => {
    const documents = (message.attachments ?? []).map((each) => `> ${each.name}\n`).join("");
    return `## ${names[message.role]}${message.model ? ` (${message.model})` : ""}\n\n${documents}${message.text}\n${sourcesOf(message)}${isInterrupted(message) ? `\n*${names.interrupted}*\n` : ""}`;
  });
  return `# ${conversation.title}\n\n${parts.join("\n")}`;
}
