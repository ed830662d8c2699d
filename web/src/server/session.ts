import type { OpenedFrom } from "../where";
import { json, request } from "./http";

/** From where the page was opened, and what the reader may do. `reads_stored`: their conversations are stored. */
export interface Session {
  opened_from: OpenedFrom;
  who: "owner" | "key" | "guest" | "nobody";
  needs_key: boolean;
  reads_stored: boolean;
}

export const getSession = () => json<Session>(request("GET", "/api/ui/session"));
