/** The models of the server, and the one that answers in the conversation in view. */
import { computed, signal } from "@preact/signals";
import { ServerError } from "../server/http";
import { listAgents, type AgentFacts } from "../server/agents";
import { listModels, type ModelRecord } from "../server/models";
import { acting } from "../words/agents";
import { showError } from "./notices";
import { mayUseAgents } from "./session";
import { settings } from "./settings";

export const models = signal<ModelRecord[] | null>(null); // null: not known yet

export const model = computed<ModelRecord | undefined>(() => {
  const known = models.value ?? [];
  return known.find((each) => each.id === settings.value.model) ?? known.find((each) => each.state === "loaded") ?? known[0];
});

/** Undefined for a model that has no efforts to choose from. */
export const effort = computed<string | undefined>(() => {
  const efforts = model.value?.efforts ?? [];
  const chosen = [settings.value.effort, "medium"].find((each) => each !== undefined && efforts.includes(each));
  return chosen ?? efforts[0];
});

/** Models, and agents behind them: an agent is chosen as a model is. */
async function everyModel(): Promise<ModelRecord[]> {
  const [found, agents] = await Promise.all([listModels(), mayUseAgents.value ? listAgents() : []]);
  return [...found, ...agents.map((each) => asModel(each, found))];
}

function asModel(agent: AgentFacts, found: ModelRecord[]): ModelRecord {
  const { id, agent: _, ...facts } = found.find((each) => each.id === agent.model) ?? { id: "", state: "failed" as const, fault: acting.value.modelMissing(agent.model) };
  const { efforts: __, adapters: ___, fit: ____, removable: _____, ...shown } = facts as ModelRecord;
  return { ...shown, id: agent.id, agent };
}

export async function refreshModels(): Promise<void> {
  try {
    models.value = await everyModel();
  } catch (problem) {
    models.value ??= [];
    showError(problem);
  }
}

/** While an answer is awaited: is its model being loaded, and how far is it? If the server does not say, nothing is shown. */
export async function refreshModelsQuietly(): Promise<void> {
  try {
    models.value = await everyModel();
  } catch (problem) {
    if (!(problem instanceof ServerError)) throw problem;
  }
}
