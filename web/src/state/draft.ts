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

const isEmpty = ({ text, attachments }: Draft) => text.trim() === "" && attachments.length === 0;

export const draft = signal<Draft>(EMPTY_DRAFT);
export const isDraftEmpty = computed(() => isEmpty(draft.value));

export function changeDraft(change: Partial<Draft>): void {
  draft.value = { ...draft.value, ...change };
}

/** The messages that the model would get if this were sent; an empty draft is no message. */
export function promptWith(added: Draft): WireMessage[] {
  const { text, attachments } = added;
  const question: Message = {
    id: "draft", parent: null, role: "user", text, created: "",
    ...(attachments.length > 0 ? { attachments } : {}),
  };
  return toWire(isEmpty(added) ? path.value : [...path.value, question], systemPrompt.value);
}
