/** Answers, as a stream of events or in one piece, over OpenAI's Chat Completions. */
import type { UrlCitation } from "../citations";
import type { Receipt, Sampling, Usage, WireMessage } from "../conversation";
import type { Edit } from "../edits";
import type { Watched } from "../watched";
import { json, request, ServerError } from "./http";
import { EventStream } from "./sse";

/** How far the conversation has been read before the answer begins. */
export interface Reading {
  done: number;
  total: number;
  seconds_left: number | null;
}

export type AnswerEvent =
  | { kind: "reading"; reading: Reading }
  | { kind: "reasoning"; text: string }
  | { kind: "text"; text: string }
  | { kind: "cited"; cited: UrlCitation } // its mark is in the text before it
  | { kind: "watched"; piece: Watched }
  | { kind: "finished"; reason: string }
  | { kind: "usage"; usage: Usage }
  | { kind: "receipt"; receipt: Receipt };

interface Chunk {
  choices?: {
    delta?: { content?: string | null; reasoning?: string | null; reasoning_content?: string | null; annotations?: { type: string; url_citation?: UrlCitation }[] };
    finish_reason?: string | null;
  }[];
  usage?: Usage | null;
  ouvert?: { receipt?: Receipt; reading?: Reading; watched?: Watched[] } | null;
  error?: { message: string; code?: string };
}

/** What one chunk of a streamed answer says. */
export function* eventsOf(chunk: Chunk): Generator<AnswerEvent> {
  if (chunk.error) throw new ServerError(200, chunk.error.message, chunk.error.code);
  if (chunk.ouvert?.reading) yield { kind: "reading", reading: chunk.ouvert.reading };
  for (const piece of chunk.ouvert?.watched ?? []) if (piece.index === 0) yield { kind: "watched", piece };
  const choice = chunk.choices?.[0];
  const reasoning = choice?.delta?.reasoning ?? choice?.delta?.reasoning_content;
  if (reasoning) yield { kind: "reasoning", text: reasoning };
  if (choice?.delta?.content) yield { kind: "text", text: choice.delta.content };
  for (const { url_citation: cited } of choice?.delta?.annotations ?? []) if (cited) yield { kind: "cited", cited };
  if (choice?.finish_reason) yield { kind: "finished", reason: choice.finish_reason };
  if (chunk.usage) yield { kind: "usage", usage: chunk.usage };
  if (chunk.ouvert?.receipt) yield { kind: "receipt", receipt: chunk.ouvert.receipt };
}

export interface AnswerRequest {
  model: string;
  messages: WireMessage[];
  effort?: string | undefined;
  sampling?: Sampling | undefined;
  truncation?: "auto" | undefined; // the oldest turns may be left out
  documents?: string[] | undefined; // collections that are asked
  edits?: Edit[] | undefined; // of the model while it answers
  watch?: string[] | undefined; // what is seen of it while it answers
}

export function requestBody({ model, messages, effort, sampling = {}, truncation, documents, edits, watch }: AnswerRequest): Record<string, unknown> {
  const { max_tokens, ...numbers } = sampling;
  return {
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    ouvert: {
      receipt: "full",
      progress: true,
      ...(truncation === undefined ? {} : { truncation }),
      ...(documents === undefined ? {} : { documents }),
      ...(edits === undefined ? {} : { edits }),
      ...(watch === undefined ? {} : { watch }),
    },
    ...numbers,
    ...(max_tokens === undefined ? {} : { max_completion_tokens: max_tokens }),
    ...(effort === undefined ? {} : { reasoning_effort: effort }),
  };
}

/** A short answer in one piece, at temperature 0. */
export async function completeOnce(
  { model, messages, maxTokens }: { model: string; messages: WireMessage[]; maxTokens: number },
  signal: AbortSignal,
): Promise<string> {
  const body = { model, messages, temperature: 0, max_completion_tokens: maxTokens };
  const { choices } = await json<{ choices: { message: { content: string | null } }[] }>(request("POST", "/v1/chat/completions", body, signal));
  return choices[0]?.message.content ?? "";
}

/** An answer as it is written. Ends with the stream; aborting `signal` closes it, and the server stops computing. */
export async function* streamAnswer(asked: AnswerRequest, signal: AbortSignal): AsyncGenerator<AnswerEvent> {
  const response = await request("POST", "/v1/chat/completions", requestBody(asked), signal);
  if (!response.body) throw new ServerError(response.status, "The answer has no body.");
  const stream = new EventStream();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let ended = false;
  try {
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      for (const data of stream.push(piece.value)) {
        if (data === "[DONE]") ended = true;
        else yield* eventsOf(JSON.parse(data) as Chunk);
      }
    }
  } catch (problem) {
    // Browsers call a broken connection a TypeError.
    throw problem instanceof TypeError ? new ServerError(0, String(problem)) : problem;
  } finally {
    reader.cancel().catch(() => undefined); // already closed: nothing is left to cancel
  }
  if (!ended) throw new ServerError(0, "The connection closed before the answer was complete.");
}
