/** Work that the server does over time: traces, patches, tests of directions. Its price first, then how far it is. */
import { json, request } from "./http";

/** What work will take, said before it begins. */
export interface Plan {
  seconds: number;
  bytes: number;
}

interface Standing {
  id: string;
  state: "queued" | "running" | "done" | "failed";
  plan: Plan | null; // not known before it runs
  progress: { done: number; total: number };
  fault?: string;
}

const ASK_EVERY = 250; // milliseconds, while work is done

/** `place` is where such work is asked for: /ouvert/traces. */
export const planWork = async (place: string, asked: object, signal: AbortSignal) =>
  (await json<{ plan: Plan }>(request("POST", place, { ...asked, plan: true }, signal))).plan;
export const beginWork = async (place: string, asked: object, signal: AbortSignal) => (await json<Standing>(request("POST", place, asked, signal))).id;
export const dropWork = (place: string, id: string) => request("DELETE", `${place}/${id}`);

/** How much of it is done, 0 to 1, until all of it is. Throws where it fails, and what `signal` aborts with. */
export async function* workProgress(place: string, id: string, signal: AbortSignal): AsyncGenerator<number | undefined> {
  for (;;) {
    const { state, progress, fault } = await json<Standing>(request("GET", `${place}/${id}`, undefined, signal));
    if (state === "done") return;
    if (state === "failed") throw new Error(fault ?? state);
    yield state === "queued" || progress.total === 0 ? undefined : progress.done / Math.max(1, progress.total);
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY));
  }
}
