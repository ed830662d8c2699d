/** Agents of the server, and their runs: begun, looked at, decided, ended (docs/formats/agent-run.md). */
import type { Place } from "../citations";
import type { Receipt } from "../conversation";
import { json, request } from "./http";

export interface AgentFacts {
  id: string; // agent/NAME, a model's name
  name: string;
  description: string;
  model: string;
  tools: string[];
  documents: string[];
  approve: string;
  budget: Budget;
}

/** Null: no bound. */
export type Budget = Record<string, number | null>;

export interface Target {
  target: string;
  from: "owner" | "trusted" | "result" | "model";
  tool?: string;
  foreign?: boolean;
}

/** What a run waits for. */
export interface Question {
  call: string;
  tool: string;
  arguments: string;
  effect: string;
  why: string;
  cause: "policy" | "crash" | "agent";
  targets: Target[];
}

export interface RunFacts {
  id: string;
  agent: string;
  task: string;
  created: string;
  state: string; // running, waiting, done, budget, cancelled
  tainted: boolean;
  spent: Record<string, number>;
  budget: Budget;
  waits_for: Question | null;
  answer: string | null;
  citations: Place[] | null;
  going_on?: boolean; // not in the list
}

export interface RunCall {
  id: string;
  name: string;
  arguments: string;
}

/** Of a run's record. */
export interface RunEvent {
  n: number;
  event: "task" | "answer" | "warned" | "ask" | "verdict" | "started" | "result" | "refused" | "stopped";
  at: string;
  text?: string;
  reasoning?: string;
  calls?: RunCall[];
  call?: string;
  tool?: string;
  allowed?: boolean;
  by?: string;
  ok?: boolean;
  foreign?: boolean;
  reason?: string;
  receipt?: Receipt;
}

export interface Said {
  role: "user" | "assistant";
  content: string;
}

const RUNS = "/ouvert/agents/runs";

export const listAgents = async () => (await json<{ data: AgentFacts[] }>(request("GET", "/ouvert/agents"))).data;
export const listRuns = async () => (await json<{ data: RunFacts[] }>(request("GET", RUNS))).data;
export const beginRun = (agent: string, task: string, history: Said[]) => json<RunFacts>(request("POST", RUNS, { agent, task, history }));
export const getRun = (id: string) => json<RunFacts>(request("GET", `${RUNS}/${id}`));
export const getEvents = async (id: string, after: number) => (await json<{ data: RunEvent[] }>(request("GET", `${RUNS}/${id}/events?after=${after}`))).data;
export const decideRun = (id: string, call: string, allowed: boolean) => json<RunFacts>(request("POST", `${RUNS}/${id}/verdicts`, { call, allowed }));
export const resumeRun = (id: string) => json<RunFacts>(request("POST", `${RUNS}/${id}/resume`));
export const cancelRun = (id: string) => json<RunFacts>(request("POST", `${RUNS}/${id}/cancel`));
export const removeRun = (id: string) => request("DELETE", `${RUNS}/${id}`);
