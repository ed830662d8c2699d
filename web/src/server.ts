/** Everything the page asks of the server it came from. Addresses are relative: there is no other server. */
import type { Conversation, Receipt, Sampling, Usage, WireMessage } from "./conversation";
import { EventStream } from "./sse";
import type { OpenedFrom } from "./where";

export interface Summary {
  id: string;
  title: string;
  created: string;
  updated: string;
  revision: number;
  messages: number;
  excerpt?: string;
  message?: string;
}

export interface Listing {
  conversations: Summary[];
  damaged: { file: string; fault: string }[];
}

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
  toy?: boolean; // small enough that its answers are often wrong
  fault?: string; // why its files cannot be used
  state: "loaded" | "loading" | "on_disk" | "failed";
  progress?: number; // 0 to 1, while loading
}

/** What the server said was wrong, in its own words. `status` 0: it could not be reached. */
export class ServerError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code?: string,
    readonly detail: { n_prompt_tokens?: number; n_ctx?: number } = {},
  ) {
    super(message);
  }
}

/** Whether a request ended because the page itself ended it. */
export const isAbort = (problem: unknown): boolean => problem instanceof DOMException && problem.name === "AbortError";

const KEY = "ouvert.key";

/** A server that people share asks for a key; it stays in this tab. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value: string) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

async function ask(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  } catch (problem) {
    if (isAbort(problem)) throw problem;
    throw new ServerError(0, String(problem));
  }
  if (!response.ok) throw await asError(response);
  return response;
}

async function asError(response: Response): Promise<ServerError> {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text) as { error: { message: string; code?: string } | string };
    if (typeof error === "string") return new ServerError(response.status, error);
    return new ServerError(response.status, error.message, error.code ?? undefined, error as object);
  } catch {
    return new ServerError(response.status, text.slice(0, 500) || response.statusText);
  }
}

const json = async <Value>(response: Promise<Response>): Promise<Value> => (await response).json() as Promise<Value>;

/** From where the page was opened, and who asks. `reads_stored`: conversations are kept for them. */
export interface Session {
  opened_from: OpenedFrom;
  needs_key: boolean;
  reads_stored: boolean;
}

export const getSession = () => json<Session>(ask("GET", "/api/ui/session"));
export const listConversations = (query: string, signal?: AbortSignal) =>
  json<Listing>(ask("GET", `/api/ui/conversations?query=${encodeURIComponent(query)}`, undefined, signal));
export const getConversation = (id: string) => json<Conversation>(ask("GET", `/api/ui/conversations/${id}`));
export const putConversation = (conversation: Conversation) =>
  json<Conversation>(ask("PUT", `/api/ui/conversations/${conversation.id}`, conversation));
export const deleteConversation = (id: string) => ask("DELETE", `/api/ui/conversations/${id}`);
export const deleteAllConversations = () => ask("DELETE", "/api/ui/conversations");
export const exportConversations = async () => (await ask("GET", "/api/ui/export")).blob();
/** Whether a file holds conversations, or one: what each is made of the server looks at. */
export const isExport = (value: unknown): boolean =>
  typeof value === "object" && value !== null && ("ouvert_export" in value || "ouvert_conversation" in value);

export const importConversations = (value: unknown) =>
  json<{ added: string[]; unchanged: string[]; copied: string[] }>(ask("POST", "/api/ui/import", value));
export const listModels = async () => (await json<{ models: ModelRecord[] }>(ask("GET", "/api/ui/models"))).models;

export interface Count {
  count: number;
  max_model_len: number;
}

/** Exactly how many tokens a conversation is, template included, and how many the model holds. */
export const countTokens = (model: string, messages: WireMessage[], signal?: AbortSignal) =>
  json<Count>(ask("POST", "/tokenize", { model, messages, add_generation_prompt: true }, signal));

/** How far the conversation has been read before the answer begins. */
export interface Reading {
  done: number;
  total: number;
  seconds_left: number | null;
}

export type Event =
  | { kind: "reading"; reading: Reading }
  | { kind: "reasoning"; text: string }
  | { kind: "text"; text: string }
  | { kind: "finished"; reason: string }
  | { kind: "usage"; usage: Usage }
  | { kind: "receipt"; receipt: Receipt };

interface Chunk {
  choices?: {
    delta?: { content?: string | null; reasoning?: string | null; reasoning_content?: string | null };
    finish_reason?: string | null;
  }[];
  usage?: Usage | null;
  ouvert?: { receipt?: Receipt; reading?: Reading } | null;
  error?: { message: string; code?: string };
}

/** What one chunk of a streamed answer says. */
export function* eventsOf(chunk: Chunk): Generator<Event> {
  if (chunk.error) throw new ServerError(200, chunk.error.message, chunk.error.code);
  if (chunk.ouvert?.reading) yield { kind: "reading", reading: chunk.ouvert.reading };
  const choice = chunk.choices?.[0];
  const reasoning = choice?.delta?.reasoning ?? choice?.delta?.reasoning_content;
  if (reasoning) yield { kind: "reasoning", text: reasoning };
  if (choice?.delta?.content) yield { kind: "text", text: choice.delta.content };
  if (choice?.finish_reason) yield { kind: "finished", reason: choice.finish_reason };
  if (chunk.usage) yield { kind: "usage", usage: chunk.usage };
  if (chunk.ouvert?.receipt) yield { kind: "receipt", receipt: chunk.ouvert.receipt };
}

export interface Request {
  model: string;
  messages: WireMessage[];
  effort?: string | undefined;
  sampling?: Sampling | undefined;
  truncation?: "auto" | undefined; // the oldest turns may be left out
}

export function requestBody({ model, messages, effort, sampling = {}, truncation }: Request): Record<string, unknown> {
  const { max_tokens, ...numbers } = sampling;
  return {
    model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    ouvert: { receipt: "full", progress: true, ...(truncation === undefined ? {} : { truncation }) },
    ...numbers,
    ...(max_tokens === undefined ? {} : { max_completion_tokens: max_tokens }),
    ...(effort === undefined ? {} : { reasoning_effort: effort }),
  };
}

/** A short answer in one piece, the same each time. */
export async function completeOnce(
  { model, messages, maxTokens }: { model: string; messages: WireMessage[]; maxTokens: number },
  signal: AbortSignal,
): Promise<string> {
  const body = { model, messages, temperature: 0, max_completion_tokens: maxTokens };
  const { choices } = await json<{ choices: { message: { content: string | null } }[] }>(ask("POST", "/v1/chat/completions", body, signal));
  return choices[0]?.message.content ?? "";
}

/** An answer as it is written. Ends with the stream; aborting `signal` closes it, and the server stops computing. */
export async function* streamAnswer(request: Request, signal: AbortSignal): AsyncGenerator<Event> {
  const response = await ask("POST", "/v1/chat/completions", requestBody(request), signal);
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
