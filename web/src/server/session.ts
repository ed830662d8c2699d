import type { OpenedFrom } from "../where";
import { json, request } from "./http";

/** What keys must be granted: to look inside a model, to change it for an answer, to have agents act, to have documents.
 * The owner may do all of it. */
export type Scope = "inspect" | "edit" | "agents" | "documents";

/** From where the page was opened, and what the reader may do. `reads_stored`: their conversations are stored.
 * `compares`: answers can be compared here. */
export interface Session {
  opened_from: OpenedFrom;
  who: "owner" | "key" | "guest" | "nobody";
  needs_key: boolean;
  reads_stored: boolean;
  compares: boolean;
  scopes: Scope[];
}

export const getSession = () => json<Session>(request("GET", "/api/ui/session"));
