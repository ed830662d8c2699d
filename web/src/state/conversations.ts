/** Conversations are begun, shown, renamed and deleted. */
import { batch } from "@preact/signals";
import { emptyConversation, find, LONGEST_TITLE, newestLeaf, siblings, type Conversation, type Message } from "../conversation";
import { deleteAllConversations, deleteConversation, getConversation, putConversation } from "../server/conversations";
import { words } from "../words";
import { refreshList } from "./conversation-list";
import { draft, EMPTY_DRAFT, type Draft } from "./draft";
import { announcement, showError } from "./notices";
import { answeredConversation, current, generations, letAllGo, letGo, openConversation, update } from "./open-conversations";
import { forgetRevision, noteLoaded, noteStored, save, stopSaving, stopSavingAll, writeEnded } from "./saving";
import { lastSettings } from "./stored";
import { closePanel, editing, focusComposer, hideSidebarIfNarrow } from "./view";

/** `handedOn`: what the message box begins with. */
export function startNew(handedOn: Draft = EMPTY_DRAFT): void {
  batch(() => {
    bringIntoView(emptyConversation(lastSettings()), handedOn);
    closePanel();
  });
  location.hash = "";
  focusComposer();
}

function bringIntoView(conversation: Conversation, handedOn: Draft): void {
  if (conversation.id !== current.value.id) draft.value = handedOn;
  current.value = conversation;
  editing.value = null;
  hideSidebarIfNarrow();
}

/** `message`: the one whose branch is shown; without it, the branch that was shown last. */
export async function show(id: string, message?: string): Promise<void> {
  try {
    await writeEnded(id);
    const conversation = answeredConversation(id) ?? (await getConversation(id));
    noteLoaded(conversation);
    const hasMessage = message !== undefined && find(conversation, message) !== undefined;
    batch(() => bringIntoView(hasMessage ? { ...conversation, leaf: newestLeaf(conversation, message) } : conversation, EMPTY_DRAFT));
    location.hash = id;
    focusComposer();
  } catch (problem) {
    showError(problem, words.value.loadFailed);
  }
}

/** Show another version of a message, at the newest end of its branch. */
export function showVersion(message: Message): void {
  current.value = { ...current.value, leaf: newestLeaf(current.value, message.id) };
  const versions = siblings(current.value, message);
  announcement.value = words.value.announceVersion(versions.findIndex((each) => each.id === message.id) + 1, versions.length);
  void save(current.value.id);
}

export async function rename(id: string, wanted: string): Promise<void> {
  const title = wanted.trim().slice(0, LONGEST_TITLE);
  if (!title) return;
  try {
    if (openConversation(id)) {
      update(id, (conversation) => ({ ...conversation, title }));
      await save(id);
    } else {
      noteStored(await putConversation({ ...(await getConversation(id)), title }));
      await refreshList();
    }
  } catch (problem) {
    showError(problem, words.value.savingFailed);
  }
}

export async function remove(id: string): Promise<void> {
  try {
    generations.value.get(id)?.controller.abort();
    if (current.value.id === id) startNew();
    letGo(id);
    await stopSaving(id);
    await deleteConversation(id);
    forgetRevision(id);
    await refreshList();
  } catch (problem) {
    showError(problem);
  }
}

export async function removeAll(): Promise<void> {
  try {
    for (const each of generations.value.values()) each.controller.abort();
    letAllGo();
    startNew();
    await stopSavingAll();
    await deleteAllConversations();
    await refreshList();
  } catch (problem) {
    showError(problem);
  }
}
