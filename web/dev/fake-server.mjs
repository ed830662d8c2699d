/**
 * A stand-in for `ouvert serve`, for working on the page without Python: the same addresses and the same stream, answers
 * from a list. `npm run dev` starts it on port 11436 with Vite in front; the browser tests start it on a free port.
 */
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { fetchRoute, makeFetches } from "./fake-fetches.mjs";
import { makeTraces, sampledAnswer, traceRoute, watchedTokens } from "./fake-traces.mjs";
import { answerTo, CONTEXT, promptTokens, receiptOf, usageOf } from "./fake-answers.mjs";

const PAGE = fileURLToPath(new URL("../../src/ouvert/serving/web/built", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2" };

const MODELS = [
  { id: "gpt-oss:20b", experts: true, family: "gpt_oss", parameters: 20_900_000_000, size_bytes: 13_800_000_000, context: 131072, efforts: ["low", "medium", "high"], fit: { state: "fits", needs_bytes: 14_600_000_000, available_bytes: 21_000_000_000 }, state: "loaded" },
  { id: "qwen3-8b", family: "qwen3", parameters: 8_200_000_000, size_bytes: 5_000_000_000, context: 40960, efforts: [], fit: { state: "tight", needs_bytes: 6_100_000_000, available_bytes: 6_400_000_000 }, state: "loading", progress: 0.42 },
  { id: "gpt-oss:120b", family: "gpt_oss", parameters: 116_800_000_000, size_bytes: 65_000_000_000, context: 131072, efforts: ["low", "medium", "high"], fit: { state: "too_large", needs_bytes: 66_900_000_000, available_bytes: 21_000_000_000 }, state: "on_disk" },
  { id: "smollm2", family: "llama", parameters: 134_500_000, size_bytes: 98_000_000, context: 8192, efforts: [], toy: true, fit: { state: "fits", needs_bytes: 300_000_000, available_bytes: 21_000_000_000 }, state: "on_disk" },
];

/** `scopes`: of a reader who has a key; without them the reader is the owner. `asked` and `titled` are the requests for an answer and for a title; `state.cancelled` counts answers whose client has gone. */
export function makeFakeServer({ key = null, openedFrom = "this_machine", guest = false, scopes } = {}) {
  const fake = {
    conversations: new Map(),
    asked: [],
    titled: [],
    state: { cancelled: 0, loaded: Promise.resolve(), models: MODELS.map((each) => ({ removable: true, ...each })), fetches: makeFetches(), traces: makeTraces(), corrections: [], tunings: [] },
  };
  const server = createServer((request, response) => respond(fake, { key, openedFrom, guest, scopes }, request, response));
  return { server, ...fake };
}

async function respond(fake, { key, openedFrom, guest, scopes }, request, response) {
  const url = new URL(request.url, "http://localhost");
  const path = url.pathname;
  if (!path.startsWith("/api/") && !path.startsWith("/v1/") && !path.startsWith("/ouvert/") && path !== "/tokenize") return sendPage(path, response);
  const hasKey = !key || request.headers.authorization === `Bearer ${key}`;
  if (path === "/api/ui/session") return sendJson(response, 200, { opened_from: openedFrom, who: guest ? "guest" : scopes ? "key" : "owner", needs_key: !hasKey, reads_stored: hasKey && !guest, compares: false, scopes: guest ? [] : (scopes ?? ["inspect", "edit"]) });
  const isStored = path.startsWith("/api/ui/") && path !== "/api/ui/models";
  if (!hasKey || (guest && isStored)) return sendJson(response, 401, { error: { message: "a key is needed" } });
  if (path === "/v1/files" && request.method === "POST") {
    for await (const _ of request);
    return sendJson(response, 200, { id: "file-0123456789abcdef" });
  }
  const body = await readBody(request);
  if (path === "/v1/chat/completions") return answer(fake, response, body);
  if (path === "/api/ui/models") return sendJson(response, 200, { models: fake.state.models });
  if (path === "/tokenize") return sendJson(response, 200, { count: promptTokens(body.messages), max_model_len: CONTEXT });
  if (path.startsWith("/ouvert/tune/jobs")) return sendJson(response, ...tuningRoute(fake.state.tunings, request.method, path, body));
  if (path.startsWith("/ouvert/corrections")) return sendJson(response, ...correctionRoute(fake.state.corrections, request.method, path, body));
  const aboutTraces = traceRoute(fake.state.traces, request.method, url, body);
  if (aboutTraces) return sendJson(response, ...aboutTraces);
  const aboutFetches = fetchRoute(fake.state, request.method, path, body);
  if (aboutFetches) return sendJson(response, ...aboutFetches);
  return sendJson(response, ...conversationRoute(fake.conversations, request.method, url, body));
}

async function readBody(request) {
  let body = "";
  for await (const piece of request) body += piece;
  return body && JSON.parse(body);
}

function sendJson(response, status, value) {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(value));
}

function sendPage(path, response) {
  const file = normalize(path === "/" ? "/index.html" : path);
  try {
    const content = readFileSync(join(PAGE, file));
    const policy = readFileSync(join(PAGE, "content-security-policy.txt"), "utf8").trim();
    response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "text/plain", "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff" });
    response.end(content);
  } catch {
    sendJson(response, 404, { error: { message: "not found" } });
  }
}

async function answer(fake, response, body) {
  if (body.messages.at(-1).content.includes("over the limit")) return sendJson(response, 400, { error: { message: "reading a prompt: too long", code: "context_length_exceeded", n_prompt_tokens: 9001, n_ctx: 2000 } });
  response.on("close", () => {
    if (!response.writableEnded) fake.state.cancelled += 1;
  });
  if (body.stream === true) {
    fake.asked.push(body);
    return streamAnswer(fake.state, response, body);
  }
  fake.titled.push(body);
  const title = body.messages[0].content.includes("otters live") ? "**Title: A matter of animals.**\n" : ""; // none: the question's beginning stays
  return sendJson(response, 200, { choices: [{ message: { role: "assistant", content: title } }] });
}

async function streamAnswer(state, response, body) {
  const answered = answerTo(body.messages.at(-1).content, body.ouvert.edits);
  const { thought = "", text, reason = "stop", size = 7, delay = 3 } = answered;
  const send = (more, choices = []) => response.write(`data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", choices, ...more })}\n\n`);
  const delta = (value, finish_reason = null, more = {}) => send(more, [{ index: 0, delta: value, finish_reason }]);
  if (answered.loads) await load(state, body.model);
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  response.write(": ping\n\n");
  delta({ role: "assistant", content: "" });
  for (const [done, seconds_left] of body.ouvert.progress ? (answered.reading ?? []) : []) {
    send({ ouvert: { reading: { index: 0, done, total: 1500, reused: 0, seconds: 1, seconds_left } } });
    await pause(delay);
  }
  for (const piece of pieces(thought, 6)) {
    if (response.destroyed) return;
    delta({ reasoning: piece, reasoning_content: piece });
    await pause(delay * 4);
  }
  const watched = body.ouvert.watch && text === sampledAnswer() ? watchedTokens(body.ouvert.watch) : undefined;
  const last = watched?.pop(); // the end: it makes no text, and comes with the last chunk
  for (const [n, each] of (watched ?? []).entries()) {
    if (n === 4) await state.traces.written;
    if (response.destroyed) return;
    delta({ content: each.text }, null, { ouvert: { watched: [each.piece] } });
    await pause(delay);
  }
  for (const piece of watched ? [] : pieces(text, size)) {
    if (response.destroyed) return;
    delta({ content: piece });
    await pause(delay);
  }
  if (answered.breaks) {
    await pause(100);
    response.destroy();
    return;
  }
  delta({}, reason, { ouvert: { ...(last ? { watched: [last.piece] } : {}), receipt_id: "c", receipt: receiptOf(body, answered) } });
  send({ usage: usageOf(body, answered) });
  response.end("data: [DONE]\n\n");
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const pieces = (text, size) => text.match(new RegExp(`[\\s\\S]{1,${size}}`, "g")) ?? [];

/** As a server does for the first answer: nothing is sent before the model is there. */
async function load(state, id) {
  const model = state.models.find((each) => each.id === id);
  Object.assign(model, { state: "loading", progress: 0.37 });
  await state.loaded;
  Object.assign(model, { state: "loaded", progress: undefined });
}

/** The status and the body for a request about corrected answers. */
/** Jobs that never end by themselves: tests move them on. */
function tuningRoute(tunings, method, path, body) {
  const id = path.split("/")[4];
  const job = tunings.find((each) => each.id === id);
  if (id && !job) return [404, { error: { message: `There is no job ${id}.` } }];
  if (method === "GET") return [200, job ?? { object: "list", data: tunings }];
  if (method === "DELETE") {
    const over = ["finished", "failed", "cancelled"].includes(job.state);
    if (over) tunings.splice(tunings.indexOf(job), 1);
    else job.state = "cancelled";
    return [200, job];
  }
  if (body?.name === "taken") return [400, { error: { message: "name: there is an adapter or an unfinished run 'taken' already. Choose another." } }];
  const made = { id: `tuning_${tunings.length}`, state: "running", asked: body, steps: { done: 0, of: null }, errors: [], adapter: null, metrics: [] };
  tunings.unshift(made);
  return [202, made];
}

function correctionRoute(corrections, method, path, body) {
  const id = path.split("/")[3];
  const at = corrections.findIndex((each) => (id ? each.id === id : each.given === body?.given));
  if (method === "GET") return [200, { object: "list", data: corrections }];
  if (method === "DELETE") return at < 0 ? [404, { error: { message: `There is no correction ${id}.` } }] : [200, corrections.splice(at, 1)[0]];
  if (body.wanted === "refuse this") return [400, { error: { message: "nothing was corrected" } }];
  const kept = { ouvert_correction: 1, id: at < 0 ? `c${corrections.length}` : corrections[at].id, created: new Date().toISOString(), ...body };
  corrections.splice(at < 0 ? corrections.length : at, at < 0 ? 0 : 1, kept);
  return [201, kept];
}

/** The status and the body for a request about conversations. */
function conversationRoute(conversations, method, url, body) {
  const id = url.pathname.split("/")[4];
  if (url.pathname === "/api/ui/export") return [200, { ouvert_export: 1, conversations: [...conversations.values()] }];
  if (url.pathname === "/api/ui/import") return [200, importAll(conversations, body)];
  if (!id && method === "DELETE") {
    conversations.clear();
    return [200, {}];
  }
  if (!id) return [200, listing(conversations, (url.searchParams.get("query") ?? "").toLowerCase())];
  const kept = conversations.get(id);
  if (method === "PUT") {
    if ((kept?.revision ?? 0) !== body.revision) return [409, { error: { message: "changed meanwhile" } }];
    const now = new Date().toISOString();
    conversations.set(id, { ...body, revision: body.revision + 1, created: kept?.created ?? now, updated: now });
    return [200, conversations.get(id)];
  }
  if (!kept) return [404, { error: { message: `There is no conversation ${id}.` } }];
  if (method === "DELETE") conversations.delete(id);
  return [200, kept];
}

function importAll(conversations, body) {
  const all = body.conversations ?? [body];
  for (const each of all) conversations.set(each.id, each);
  return { added: all.map((each) => each.id), unchanged: [], copied: [] };
}

function listing(conversations, query) {
  const found = [...conversations.values()].filter((each) => JSON.stringify(each).toLowerCase().includes(query));
  const summaries = found.map(({ messages, settings: _, leaf: __, ...rest }) => {
    const hit = query && messages.find((each) => each.text.toLowerCase().includes(query));
    return { ...rest, messages: messages.length, ...(hit ? { excerpt: hit.text.slice(0, 120), message: hit.id } : {}) };
  });
  return { conversations: summaries.sort((a, b) => (a.updated < b.updated ? 1 : -1)), damaged: [] };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { server } = makeFakeServer();
  server.listen(11436, "127.0.0.1");
  if (process.argv.includes("--vite")) {
    const { createServer: createVite } = await import("vite");
    const vite = await createVite({ server: { proxy: Object.fromEntries(["/api", "/v1", "/ouvert", "/tokenize"].map((path) => [path, "http://127.0.0.1:11436"])) } });
    await vite.listen();
    vite.printUrls();
  } else console.log("http://127.0.0.1:11436");
}
