/** Training of adapters by the server, for its owner (docs/formats/jobs.md, "Training"). */
import { json, key, request, ServerError } from "./http";

const JOBS = "/ouvert/tune/jobs";

/** A row of metrics: of a step, or of a measurement of the held-out loss. */
export interface MetricsRow {
  step: number;
  loss?: number;
  held_out?: number;
  tokens_per_second?: number;
}

export interface TuneJob {
  id: string;
  state: "queued" | "running" | "cancelling" | "finished" | "failed" | "cancelled" | "expired";
  asked: { model: string; name: string };
  steps: { done: number; of: number | null };
  errors: { message: string }[];
  adapter: { name: string; state: string } | null;
  metrics?: MetricsRow[]; // where one job was asked for
}

export interface TuneRequest {
  model: string;
  data: string; // the id of a file, or "corrections"
  name: string;
  recipe: { optimise?: { minutes?: number } };
}

export const listTunings = async () => (await json<{ data: TuneJob[] }>(request("GET", JOBS))).data;
export const readTuning = (id: string) => json<TuneJob>(request("GET", `${JOBS}/${id}`));
export const postTuning = (asked: TuneRequest) => json<TuneJob>(request("POST", JOBS, asked));
/** Stops one that is under way, and forgets one that is over. */
export const endTuning = (id: string) => request("DELETE", `${JOBS}/${id}`);

/** Keep a file of examples on the server; its id. */
export async function uploadExamples(file: File): Promise<string> {
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", file);
  const headers: Record<string, string> = key.get() ? { Authorization: `Bearer ${key.get()}` } : {};
  const response = await fetch("/v1/files", { method: "POST", body: form, headers, credentials: "same-origin" });
  const answer = (await response.json()) as { id?: string; error?: { message: string } };
  if (!response.ok || !answer.id) throw new ServerError(response.status, answer.error?.message ?? response.statusText);
  return answer.id;
}
