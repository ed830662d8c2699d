/** An answer is received, event by event, to its end, whatever the end is. */
import { citationOf } from "../citations";
import type { Ended, Message, Receipt, Usage } from "../conversation";
import { streamAnswer, type AnswerEvent, type AnswerRequest } from "../server/answers";
import { isAbort, ServerError } from "../server/http";
import { joined } from "../watched";
import { number, words } from "../words";
import { announcement, errorText, isKeyRefused } from "./notices";
import type { Generation, PartialAnswer } from "./open-conversations";
import { isKeyNeeded } from "./session";

const SAVE_EVERY = 5000; // milliseconds, while an answer is written
const SHOW_HIDDEN_EVERY = 250; // milliseconds; a page that is hidden has no frames

/** What is known of an answer only at its end. */
interface Outcome {
  ended: Ended;
  error?: string;
  receipt?: Receipt;
  usage?: Usage;
}

/** What the message is in the end. The screen is brought up to date once a frame at most; `save` is called now and then. */
export async function receiveAnswer(request: AnswerRequest, { partial, controller }: Generation, save: () => void): Promise<Partial<Message>> {
  let received = partial.value;
  let outcome: Outcome = { ended: "error" };
  let frame = 0;
  let saved = performance.now();
  const show = () => {
    frame = 0;
    partial.value = received;
  };
  try {
    for await (const event of streamAnswer(request, controller.signal)) {
      if (event.kind === "reasoning" && received.reasoning === "") announcement.value = words.value.announceThinking;
      received = withReceived(received, event);
      outcome = withKnown(outcome, event);
      frame ||= document.hidden ? window.setTimeout(show, SHOW_HIDDEN_EVERY) : requestAnimationFrame(show);
      if (performance.now() - saved > SAVE_EVERY) {
        saved = performance.now();
        show();
        save();
      }
    }
    if (outcome.ended === "error") outcome = { ...outcome, error: words.value.endedError }; // no event said how it ended
  } catch (problem) {
    outcome = { ...outcome, ...failure(problem, request) };
  }
  partial.value = received;
  return { ...messageSoFar(received), ...outcome };
}

function withReceived(answer: PartialAnswer, event: AnswerEvent): PartialAnswer {
  switch (event.kind) {
    case "reading":
      return { ...answer, reading: { ...event.reading, at: performance.now() } };
    case "reasoning":
      return { ...answer, reasoning: answer.reasoning + event.text, thinkingBegan: answer.thinkingBegan ?? performance.now() };
    case "watched":
      return { ...answer, watched: joined(answer.watched, event.piece) };
    case "cited": {
      const citation = citationOf(event.cited, answer.text);
      return citation ? { ...answer, citations: [...(answer.citations ?? []), citation] } : answer;
    }
    case "text": {
      const text = answer.text + event.text;
      return answer.thinkingBegan === undefined ? { ...answer, text } : { ...answer, text, thinkingEnded: answer.thinkingEnded ?? performance.now() };
    }
    default:
      return answer;
  }
}

function withKnown(outcome: Outcome, event: AnswerEvent): Outcome {
  switch (event.kind) {
    case "finished":
      return { ...outcome, ended: event.reason === "length" ? "length" : "stop" };
    case "usage":
      return { ...outcome, usage: event.usage };
    case "receipt":
      return { ...outcome, receipt: event.receipt };
    default:
      return outcome;
  }
}

function failure(problem: unknown, { truncation }: AnswerRequest): Outcome {
  if (isAbort(problem)) return { ended: "cancelled" };
  if (isKeyRefused(problem)) isKeyNeeded.value = true;
  const isTooLong = problem instanceof ServerError && problem.code === "context_length_exceeded";
  // Where the oldest turns were left out already, the last message is too long by itself.
  if (isTooLong && truncation === "auto") return { ended: "error", error: words.value.messageTooLong(number(problem.detail.n_ctx ?? 0)) };
  return { ended: "error", error: errorText(problem) };
}

/** The message of an answer that is not complete. */
export function messageSoFar({ text, reasoning, thinkingBegan, thinkingEnded, citations }: PartialAnswer): Partial<Message> {
  return {
    text: text.toWellFormed(),
    ...(citations ? { citations } : {}),
    ...(reasoning ? { reasoning: reasoning.toWellFormed() } : {}),
    ...(thinkingBegan === undefined
      ? {}
      : { thinking_seconds: Math.round((thinkingEnded ?? performance.now()) - thinkingBegan) / 1000 }),
  };
}
