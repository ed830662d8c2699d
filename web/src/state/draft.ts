/** What is in the message box: the next question, not yet sent. */
import { computed, signal } from "@preact/signals";
import { toWire, type Attachment, type Message, type WireMessage } from "../conversation";
import { path } from "./open-conversations";
import { systemPrompt } from "./settings";

export interface Draft {
  text: string;
  attachments: Attachment[];
}

export const EMPTY_DRAFT: Draft = { text: "", attachments: [] };

export const draft = signal<Draft>(EMPTY_DRAFT);
export const isDraftEmpty = computed(() => draft.value.text.trim() === "" && draft.value.attachments.length === 0);

export function changeDraft(change: Partial<Draft>): void {
  draft.value = { ...draft.value, ...change };
}

/** The messages that the model would get if the draft were sent with these documents. */
export function promptWith({ text, attachments }: Draft): WireMessage[] {
  const question: Message = {
    id: "draft", parent: null, role: "user", text, created: "",
    ...(attachments.length > 0 ? { attachments } : {}),
  };
  return toWire(isDraftEmpty.value ? path.value : [...path.value, question], systemPrompt.value);
}
