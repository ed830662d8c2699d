/** Requests to the server the page came from, its key, and its errors. */

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

/** `path` is relative: there is no other server than the one the page came from. `body`: a file as it is, or JSON. Throws ServerError, or what `signal` aborts with. */
export async function request(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = {};
  const isFile = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = isFile ? "application/octet-stream" : "application/json";
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      ...(body === undefined ? {} : { body: isFile ? body : JSON.stringify(body) }),
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

export const json = async <Value>(response: Promise<Response>): Promise<Value> => (await response).json() as Promise<Value>;
