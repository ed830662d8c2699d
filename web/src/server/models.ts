/** The models of the server, and how many of their tokens a prompt is. */
import type { WireMessage } from "../conversation";
import type { AgentFacts } from "./agents";
import { json, request } from "./http";

/** Whether a model fits into the memory that models may use. */
export interface Fit {
  state: "fits" | "tight" | "too_large";
  needs_bytes: number;
  available_bytes: number;
}

export interface ModelRecord {
  id: string;
  family?: string;
  parameters?: number;
  size_bytes?: number;
  context?: number; // tokens
  efforts?: string[];
  fit?: Fit;
  experts?: boolean; // it is a mixture
  toy?: boolean; // small enough that its answers are often wrong
  adapters?: { name: string; state: string }[]; // with which it answers
  removable?: boolean; // it is in the store, not only named where the server was started
  agent?: AgentFacts; // it is an agent, and these are of its file
  fault?: string; // why its files cannot be used
  state: "loaded" | "loading" | "on_disk" | "failed";
  progress?: number; // 0 to 1, while loading
}

export const listModels = async () => (await json<{ models: ModelRecord[] }>(request("GET", "/api/ui/models"))).models;

export interface Count {
  count: number;
  max_model_len: number;
}

/** Exactly how many tokens a conversation is, template included, and how many the model holds. */
export const countTokens = (model: string, messages: WireMessage[], signal?: AbortSignal) =>
  json<Count>(request("POST", "/tokenize", { model, messages, add_generation_prompt: true }, signal));
