/** What is shown beside the conversation: the list of conversations, one panel at a time, and where the focus is. */
import { signal } from "@preact/signals";
import type { DeletionReceipt } from "../server/documents";

export type Panel =
  | { kind: "settings" | "shortcuts" | "models" | "training" }
  | { kind: "receipt" | "inside"; message: string }
  | { kind: "rename" | "delete"; id: string; title: string }
  | { kind: "delete-all" }
  | { kind: "obtain" } // models that can be fetched, and those to be removed
  | { kind: "fetch"; model: string; source: string; hosts: string[]; size: number | null; licence?: string }
  | { kind: "remove" | "discard"; model: string; size: number }
  | { kind: "documents" | "runs" }
  | { kind: "remove-document"; collection: string; document?: { id: string; name: string } } // without one, all of the collection
  | { kind: "deletion"; receipt: DeletionReceipt }
  | { kind: "place"; place: CitedPlace; back?: Panel } // a page of a document
  | { kind: "run" | "remove-run"; run: string }
  | { kind: "link"; href: string };

/** What is opened: `name` of the document is shown until the server has said more. */
export interface CitedPlace {
  collection: string;
  document: string;
  name: string;
  start: number;
  stop: number;
}

const NARROW = 900; // pixels: a narrower window shows the list of conversations or the conversation, not both

const isNarrow = () => window.innerWidth < NARROW;

export const panel = signal<Panel | null>(null);
export const sidebarShown = signal(!isNarrow());
export const editing = signal<string | null>(null); // the message that is being reworded

export function closePanel(): void {
  panel.value = null;
}

export function hideSidebarIfNarrow(): void {
  if (isNarrow()) sidebarShown.value = false;
}

/** Give the message box the focus, except on screens where that would open a keyboard unasked. */
export function focusComposer(): void {
  if (matchMedia("(pointer: coarse)").matches) return;
  const focus = () => {
    if (!document.querySelector("dialog, .editor")) document.querySelector<HTMLTextAreaElement>("#composer")?.focus();
  };
  focus(); // at once, for what is typed next
  requestAnimationFrame(focus); // for when something was still in front of it
}

export function focusSearch(): void {
  const focus = () => document.querySelector<HTMLInputElement>("#search")?.focus();
  focus(); // at once, for what is typed next
  requestAnimationFrame(focus); // for when the list was hidden, or a dialog was open
}
