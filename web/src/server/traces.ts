/** Traces of answers: what a model computed, asked for and looked at (docs/formats/trace.md). */
import type { Receipt, WireMessage } from "../conversation";
import type { PatchGrid } from "../patch";
import type { Trace } from "../trace";
import type { Ask, ViewsByName } from "../views/source";
import { json, request } from "./http";

export const TRACES = "/ouvert/traces";
export const PATCHES = "/ouvert/patches";

export interface TraceRequest {
  model: string;
  messages: WireMessage[]; // up to the question that the answer is to
  receipt?: Receipt; // of the answer; without it one is written
  temperature?: number;
  seed?: number;
  max_tokens?: number;
}

export const getTrace = (id: string) => json<Trace>(request("GET", `${TRACES}/${id}`));
/** The trace as one HTML file, with the words of the conversation or without. */
export const exportTrace = async (id: string, words: boolean) => (await request("GET", `${TRACES}/${id}/page${words ? "" : "?words=false"}`)).blob();

export function getView<Name extends keyof ViewsByName>(id: string, name: Name, ask: Ask = {}): Promise<ViewsByName[Name]> {
  const query = new URLSearchParams(Object.entries(ask).map(([key, value]) => [key, String(value)])).toString();
  return json(request("GET", `${TRACES}/${id}/${name}${query && `?${query}`}`));
}

export const getPatch = async (id: string) => (await json<{ result: PatchGrid }>(request("GET", `${PATCHES}/${id}`))).result;
