/** The model answers a question: its answer is begun, watched, received and saved. */
import { batch, signal } from "@preact/signals";
import { newId, pathTo, toWire, withChanged, withMessage, type Message } from "../conversation";
import type { AnswerRequest } from "../server/answers";
import type { ModelRecord } from "../server/models";
import { words } from "../words";
import { effort, model, refreshModels, refreshModelsQuietly } from "./models";
import { announcement } from "./notices";
import { current, generation, generations, keepOpen, letGo, update, type Generation, type PartialAnswer } from "./open-conversations";
import { messageSoFar, receiveAnswer } from "./receiving";
import { save } from "./saving";
import { runAgent } from "./running";
import { askedDocuments, settings, systemPrompt } from "./settings";
import { cancelTitle, requestTitle } from "./titles";
import { keepWatched, watchOf } from "./watching";

const WATCH_EVERY = 1000; // milliseconds, while an answer has not begun

/**
 * Let the model answer the question of that id in the conversation in view. Returns what the message is in the end, or
 * nothing if there is no model or an answer is being written already. `change` is of the request.
 */
export async function generate(question: string, change: Partial<AnswerRequest> = {}): Promise<Partial<Message> | undefined> {
  const chosen = model.value;
  if (!chosen || generation.value) return undefined;
  cancelTitle();
  const { id } = current.value;
  const request = { ...requestFor(question, chosen), ...change };
  const started = begin(question, chosen);
  const { message } = started;
  const stopWatching = watchUntilBegun(started);
  const keep = () => {
    update(id, (conversation) => withChanged(conversation, message, messageSoFar(started.partial.value)));
    void save(id);
  };
  const outcome = await (chosen.agent ? runAgent(chosen.agent, id, question, started) : receiveAnswer(request, started, keep));
  stopWatching();
  keepWatched(message, started.partial.value.watched);
  await end(id, message, outcome);
  if (outcome.ended === "stop" && !outcome.reasoning && !chosen.toy && !chosen.agent) void requestTitle(id, chosen.id);
  return outcome;
}

function requestFor(question: string, chosen: ModelRecord): AnswerRequest {
  return {
    model: chosen.id,
    messages: toWire(pathTo(current.value, question), systemPrompt.value),
    effort: effort.value,
    sampling: settings.value.sampling,
    truncation: settings.value.truncation,
    documents: askedDocuments.value,
    watch: watchOf(chosen),
  };
}

/** An empty answer is in the conversation, in view and saved. */
function begin(question: string, { id: chosen, agent }: ModelRecord): Generation {
  const { id } = current.value;
  const message: Message = { id: newId(), parent: question, role: "assistant", text: "", created: new Date().toISOString(), model: chosen };
  if (askedDocuments.value && !agent) message.documents = askedDocuments.value;
  const started: Generation = {
    message: message.id,
    partial: signal<PartialAnswer>({ text: "", reasoning: "" }),
    controller: new AbortController(),
  };
  batch(() => {
    current.value = withMessage(current.value, message);
    keepOpen(current.value);
    generations.value = new Map(generations.value).set(id, started);
    announcement.value = words.value.announceAnswering;
  });
  if (location.hash !== `#${id}`) location.hash = id;
  void save(id);
  return started;
}

/** Until anything is read or written, show how far the model is loaded. Returns what ends this. */
function watchUntilBegun({ partial }: Generation): () => void {
  const stop = () => clearInterval(timer);
  const timer = window.setInterval(() => {
    const { reading, text, reasoning } = partial.value;
    if (reading || text || reasoning) stop();
    else void refreshModelsQuietly();
  }, WATCH_EVERY);
  return stop;
}

async function end(id: string, message: string, outcome: Partial<Message>): Promise<void> {
  batch(() => {
    update(id, (conversation) => withChanged(conversation, message, outcome));
    const remaining = new Map(generations.value);
    remaining.delete(id);
    generations.value = remaining; // the conversation is kept open until it is saved
    if (outcome.ended !== undefined) announcement.value = announcementOf(outcome); // a run that waits said so itself
  });
  await save(id);
  letGo(id);
  void refreshModels();
}

function announcementOf({ ended, error = "", text = "" }: Partial<Message>): string {
  if (ended === "cancelled") return words.value.announceStopped;
  if (ended === "error") return `${words.value.announceFailed} ${error}`;
  return words.value.announceDone(String(text.split(/\s+/).filter(Boolean).length));
}
