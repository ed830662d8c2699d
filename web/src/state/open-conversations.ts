/** Conversations that are open: the one in view, and those whose answers are being written. */
import { computed, signal, type Signal } from "@preact/signals";
import type { Citation } from "../citations";
import { emptyConversation, find, pathTo, type Conversation, type Message } from "../conversation";
import type { Reading } from "../server/answers";
import type { Watched } from "../watched";
import { lastSettings } from "./stored";

export const current = signal<Conversation>(emptyConversation(lastSettings()));
export const path = computed(() => pathTo(current.value, current.value.leaf));

/** An answer that is being written. Only the message that shows it follows `partial`. */
export interface Generation {
  message: string;
  partial: Signal<PartialAnswer>;
  controller: AbortController;
}

/** Times are in milliseconds, as performance.now() counts them. */
export interface PartialAnswer {
  text: string;
  reasoning: string;
  reading?: Reading & { at: number }; // how much of the prompt was read at that time
  thinkingBegan?: number;
  thinkingEnded?: number;
  watched?: Watched; // of its tokens so far
  citations?: Citation[];
}

/** Answers that are being written, by the id of their conversation. */
export const generations = signal<ReadonlyMap<string, Generation>>(new Map());
export const generation = computed(() => generations.value.get(current.value.id));

const keptOpen = new Map<string, Conversation>();

/** From here on the conversation is open whether it is in view or not. */
export function keepOpen(conversation: Conversation): void {
  keptOpen.set(conversation.id, conversation);
}

/** From here on the conversation is open only while it is in view. */
export function letGo(id: string): void {
  keptOpen.delete(id);
}

export function letAllGo(): void {
  keptOpen.clear();
}

export function openConversation(id: string): Conversation | undefined {
  return current.value.id === id ? current.value : keptOpen.get(id);
}

/** The conversation as its answer has it, if one is being written. */
export function answeredConversation(id: string): Conversation | undefined {
  return generations.value.has(id) ? keptOpen.get(id) : undefined;
}

export function update(id: string, change: (conversation: Conversation) => Conversation): void {
  const conversation = openConversation(id);
  if (!conversation) return; // deleted while its answer was being written
  const changed = change(conversation);
  if (current.value.id === id) current.value = changed;
  if (keptOpen.has(id) || generations.value.has(id)) keptOpen.set(id, changed);
}

/** The last complete answer of the branch in view. */
export function lastAnswer(): Message | undefined {
  const message = path.value.findLast((each) => each.role === "assistant");
  return message && generation.value?.message !== message.id ? find(current.value, message.id) : undefined;
}
