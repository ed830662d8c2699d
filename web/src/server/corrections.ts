/** Answers that the owner corrected, which the server keeps on this machine (docs/formats/tuning-data.md). */
import type { WireMessage } from "../conversation";
import { json, request } from "./http";

const CORRECTIONS = "/ouvert/corrections";

/** `given` is the answer as it was, `wanted` as it should have been. `receipt`: the digest of the answer's tokens. */
export interface Correction {
  messages: WireMessage[];
  given: string;
  wanted: string;
  model?: string;
  receipt?: string;
}

export interface KeptCorrection extends Correction {
  id: string;
}

export const listCorrections = async () => (await json<{ data: KeptCorrection[] }>(request("GET", CORRECTIONS))).data;
export const postCorrection = (correction: Correction) => json<KeptCorrection>(request("POST", CORRECTIONS, correction));
export const deleteCorrection = (id: string) => request("DELETE", `${CORRECTIONS}/${id}`);
