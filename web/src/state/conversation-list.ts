/** The list of stored conversations, or of those that contain what is searched for. */
import { effect, signal } from "@preact/signals";
import { listConversations, type Listing } from "../server/conversations";
import { isAbort } from "../server/http";
import { showError } from "./notices";
import { session } from "./session";

const TYPING_PAUSE = 150; // milliseconds

export const listing = signal<Listing>({ conversations: [], damaged: [] });
export const searchQuery = signal("");

let request = new AbortController();

export async function refreshList(): Promise<void> {
  if (!session.value?.reads_stored) return; // not known yet, or there is nothing for this reader
  request.abort();
  request = new AbortController();
  try {
    listing.value = await listConversations(searchQuery.value, request.signal);
  } catch (problem) {
    if (!isAbort(problem)) showError(problem);
  }
}

let pause = 0;
effect(() => {
  searchQuery.value;
  clearTimeout(pause);
  pause = window.setTimeout(() => void refreshList(), TYPING_PAUSE);
});
