/** Saving: one write at a time for each conversation. What changes during a write is written after it. */
import { merge, titleFor, type Conversation } from "../conversation";
import { getConversation, putConversation } from "../server/conversations";
import { ServerError } from "../server/http";
import { words } from "../words";
import { refreshList } from "./conversation-list";
import { notice, showError } from "./notices";
import { openConversation, update } from "./open-conversations";
import { storesConversations } from "./session";

const unsaved = new Map<string, Conversation>();
const writes = new Map<string, Promise<void>>(); // that have not ended
const revisions = new Map<string, number>(); // of what the server stores, as far as this window knows

export async function save(id: string): Promise<void> {
  const conversation = openConversation(id);
  if (!conversation || !storesConversations.value) return; // deleted meanwhile, or nothing is stored
  unsaved.set(id, conversation);
  const write = writes.get(id) ?? writeUnsaved(id);
  writes.set(id, write);
  await write;
}

/** Ends when the write under way has ended, if there is one. */
export async function writeEnded(id: string): Promise<void> {
  await writes.get(id);
}

/** Nothing more is written; ends when the write under way has ended. */
export async function stopSaving(id: string): Promise<void> {
  unsaved.delete(id);
  await writes.get(id);
}

export async function stopSavingAll(): Promise<void> {
  unsaved.clear();
  await Promise.all(writes.values());
  revisions.clear();
}

export function noteStored({ id, revision }: Conversation): void {
  revisions.set(id, revision);
}

/** A copy that was loaded may be older than what this window has written since. */
export function noteLoaded({ id, revision }: Conversation): void {
  revisions.set(id, Math.max(revision, revisions.get(id) ?? 0));
}

export function forgetRevision(id: string): void {
  revisions.delete(id);
}

/** A conversation without a title has the beginning of its first question as one. */
export const withTitle = (conversation: Conversation): Conversation =>
  conversation.title ? conversation : { ...conversation, title: titleFor(conversation.messages[0]?.text ?? "", conversation.messages[0]?.attachments) };

async function writeUnsaved(id: string): Promise<void> {
  try {
    for (let next = unsaved.get(id); next; next = unsaved.get(id)) {
      unsaved.delete(id);
      await write(next);
    }
  } catch (problem) {
    showError(problem, words.value.savingFailed);
  } finally {
    writes.delete(id); // at once: a later save begins a new write
  }
  await refreshList();
}

async function write(conversation: Conversation): Promise<void> {
  for (let mine = conversation; ; mine = await mergedWithStored(mine)) {
    try {
      noteStored(await putConversation({ ...withTitle(mine), revision: revisions.get(mine.id) ?? mine.revision }));
      return;
    } catch (problem) {
      if (!(problem instanceof ServerError && problem.status === 409)) throw problem;
    }
  }
}

/** Another window has saved this conversation. Both versions are kept: here, in view, and in what is to be saved next. */
async function mergedWithStored(mine: Conversation): Promise<Conversation> {
  const { id } = mine;
  const theirs = await getConversation(id);
  noteStored(theirs);
  update(id, (open) => merge(open, theirs));
  // What is to be saved next was taken before: saved as it is, it would undo the merge.
  const next = unsaved.get(id);
  if (next) unsaved.set(id, merge(next, theirs));
  notice.value = { text: words.value.mergedWindows, isError: false };
  return merge(mine, theirs);
}
