/** The conversations that the server stores (docs/formats/conversations.md). */
import type { Conversation } from "../conversation";
import { json, request } from "./http";

/** A conversation in the list. `excerpt` and `message` say where the search found something. */
export interface Summary {
  id: string;
  title: string;
  created: string;
  updated: string;
  revision: number;
  messages: number;
  excerpt?: string;
  message?: string;
}

export interface Listing {
  conversations: Summary[];
  damaged: { file: string; fault: string }[];
}

export const listConversations = (query: string, signal?: AbortSignal) =>
  json<Listing>(request("GET", `/api/ui/conversations?query=${encodeURIComponent(query)}`, undefined, signal));
export const getConversation = (id: string) => json<Conversation>(request("GET", `/api/ui/conversations/${id}`));
export const putConversation = (conversation: Conversation) =>
  json<Conversation>(request("PUT", `/api/ui/conversations/${conversation.id}`, conversation));
export const deleteConversation = (id: string) => request("DELETE", `/api/ui/conversations/${id}`);
export const deleteAllConversations = () => request("DELETE", "/api/ui/conversations");
export const exportConversations = async () => (await request("GET", "/api/ui/export")).blob();

/** Whether a file holds conversations, or one. The server checks what each is made of. */
export const isExport = (value: unknown): boolean =>
  typeof value === "object" && value !== null && ("ouvert_export" in value || "ouvert_conversation" in value);

export const importConversations = (value: unknown) =>
  json<{ added: string[]; unchanged: string[]; copied: string[] }>(request("POST", "/api/ui/import", value));
