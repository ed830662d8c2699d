/** Watching answers while they are written: what is asked for, and what was seen. Nothing of it is stored. */
import { signal } from "@preact/signals";
import type { DirectionRecord } from "../server/directions";
import type { ModelRecord } from "../server/models";
import type { Watched } from "../watched";
import { isOwner } from "./session";
import { watching } from "./stored";

/** What a request to that model asks to see; undefined: nothing. */
export function watchOf({ id, experts }: ModelRecord): string[] | undefined {
  if (!isOwner.value || !watching.value.isOn) return undefined;
  const probe = watching.value.probes[id];
  return ["confidence", ...(experts ? ["experts"] : []), ...(probe ? [`probe:${probe}`] : [])];
}

/** The direction of that name is the probe of that model; without a name it has none. */
export function chooseProbe(model: string, name: string | undefined): void {
  const { [model]: _, ...others } = watching.value.probes;
  watching.value = { ...watching.value, probes: name === undefined ? others : { ...others, [model]: name } };
}

/** Whether a direction may be of that model. An imported one does not say of which it is: the server refuses what cannot be. */
export function mayProbe({ model: made }: DirectionRecord, { id, family, parameters }: ModelRecord): boolean {
  if (!made?.name) return true;
  return made.name === id || (family !== undefined && made.family === family && made.parameters === parameters);
}

const seen = signal<ReadonlyMap<string, Watched>>(new Map());

/** What was seen while the answer with that id was written, as long as its reader has not closed it. */
export const watchedOf = (message: string): Watched | undefined => seen.value.get(message);

export function keepWatched(message: string, watched: Watched | undefined): void {
  if (watched) seen.value = new Map(seen.value).set(message, watched);
}

export function forgetWatched(message: string): void {
  const others = new Map(seen.value);
  others.delete(message);
  seen.value = others;
}
