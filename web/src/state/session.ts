/** Who uses the page, and from where; what they may see follows from it. */
import { computed, signal } from "@preact/signals";
import type { Session } from "../server/session";
import { whereIs } from "../where";

export const session = signal<Session | null>(null); // null: not known yet
export const isKeyNeeded = signal(false);

/** Conversations are stored for a reader who has a key, or who is the owner. Others may talk, and nothing is stored. */
export const storesConversations = computed(() => session.value?.reads_stored ?? true);
/** Only the owner of the machine says which models are on it. */
export const isOwner = computed(() => session.value?.who === "owner");
export const mayInspect = computed(() => session.value?.scopes.includes("inspect") ?? false);
export const mayEdit = computed(() => session.value?.scopes.includes("edit") ?? false);
export const mayUseDocuments = computed(() => session.value?.scopes.includes("documents") ?? false);
export const mayUseAgents = computed(() => session.value?.scopes.includes("agents") ?? false);
/** Whether this server has answers to compare. */
export const compares = computed(() => session.value?.compares ?? false);
export const where = computed(() => whereIs(session.value?.opened_from, location));
export const host = location.hostname;
