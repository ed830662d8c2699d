/** Which models can be fetched, fetching them, and removing them. The server does that for its owner alone. */
import { json, request } from "./http";
import type { Fit } from "./models";

/** A model that has a short name, as this machine would run it. Bytes; tokens a second as [at least, at most]. */
export interface Offer {
  id: string;
  source: string;
  licence: string;
  parameters: number;
  form: string; // the encoding of its weights here
  toy: boolean;
  hosts: string[]; // in the order in which they are asked, the next only where the one before does not give it
  bytes_to: { fetch: number; store: number; run: number };
  exact: boolean; // else the sizes are approximate
  fit?: Fit;
  tokens_per_second?: { writes: [number, number]; reads: [number, number] };
  /** Larger than the memory that models may use: its experts are read from disk when they are chosen. */
  from_disk?: { memory_bytes: number; writes: [number, number]; reads: [number, number] };
  here: boolean;
}

export interface Offers {
  models: Offer[];
  context: number; // tokens of a conversation for which sizes and speeds are told
  free_bytes: number; // on the disk
  measuring: boolean; // speeds are not known yet
}

/** `elsewhere`: another program of the machine is at it; `unfinished`: it was cut off before this server started. */
export type FetchState = "queued" | "fetching" | "packing" | "stopping" | "elsewhere" | "done" | "cancelled" | "failed" | "unfinished";

export interface Fetch {
  model: string;
  state: FetchState;
  source?: string;
  hosts?: string[];
  total_bytes: number | null;
  arrived_bytes: number;
  bytes_per_second?: number;
  seconds_left?: number;
  step?: { name: string; total_bytes: number | null; done_bytes: number };
  fault?: string;
  resumable: boolean;
}

export const listOffers = () => json<Offers>(request("GET", "/api/ui/obtainable"));
export const listFetches = async () => (await json<{ fetches: Fetch[] }>(request("GET", "/api/ui/fetches"))).fetches;

/** `hosts` are those that the reader said yes to; the server refuses where it would ask others. */
export const beginFetch = (model: string, hosts: string[]) => json<Fetch>(request("POST", "/api/ui/fetches", { model, hosts }));

/** What has arrived is kept. */
export const giveUpFetch = (model: string) => json<Fetch>(request("DELETE", `/api/ui/fetches/${encodeURIComponent(model)}`));

/** Also what has arrived of a fetch that is not finished. */
export const removeModel = (model: string) => json<{ model: string; freed_bytes: number }>(request("DELETE", `/api/ui/models/${encodeURIComponent(model)}`));
