/**
 * A stand-in for `ouvert serve`, for working on the page without Python: the same addresses and the same stream, answers
 * from a list. `npm run dev` starts it on port 11436 with Vite in front; the browser tests start it on a free port.
 */
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const PAGE = fileURLToPath(new URL("../../src/ouvert/serving/page", import.meta.url));
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2" };
export const CONTEXT = 2000;

const HOSTILE = `Hello <script>window.pwned = 1</script><img src="https://tracker.test/a.png" onerror="window.pwned = 2">

<iframe src="https://tracker.test/frame"></iframe>
<svg onload="window.pwned = 3"><style>body { background: url(https://tracker.test/css) }</style></svg>

![a picture](https://tracker.test/b.png?secret=1) and ![inline](data:image/svg+xml,<svg onload=alert(1)>)

[click](javascript:window.pwned=4) [data](data:text/html,<script>window.pwned=5</script>) [fine](https://example.org/?q=everything)

<a href="https://tracker.test" ping="https://tracker.test/ping">raw</a> <form action="https://tracker.test"><button>send</button></form>

\`\`\`html" onmouseover="window.pwned=6
<script>window.pwned = 7</script>
\`\`\`

| <img src=x onerror=window.pwned=8> | b |
|---|---|
| <math><mtext><script>window.pwned=9</script></mtext></math> | \`<b onclick=x>\` |
`;

const CODE = `Files with the same content have the same digest, so it is enough to compare digests. Sizes first: **a file whose size is unique has no twin**, and need not be read at all.

\`\`\`python
import hashlib
from collections import defaultdict
from pathlib import Path


def duplicates(folder: Path) -> list[list[Path]]:
    """Groups of files under \`folder\` that hold the same bytes."""
    by_size = defaultdict(list)
    for path in folder.rglob("*"):
        if path.is_file():
            by_size[path.stat().st_size].append(path)
    by_digest = defaultdict(list)
    for paths in by_size.values():
        if len(paths) > 1:  # a size that is unique has no twin
            for path in paths:
                by_digest[hashlib.sha256(path.read_bytes()).hexdigest()].append(path)
    return [sorted(group) for group in by_digest.values() if len(group) > 1]
\`\`\`

Three things to know:

- Links are followed; add \`not path.is_symlink()\` if you would rather not.
- Every candidate is read whole. For very large files, read in pieces.
- Empty files are all equal to each other.

| Files | Sizes that repeat | Time |
|---|--:|--:|
| 1,000 | 12 | 0.1 s |
| 100,000 | 3,400 | 6 s |
`;

const THOUGHT = "The reader wants duplicates in a folder. Comparing every pair is slow: n squared reads. Group by size first, then by digest. Mention links and memory.";

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const pieces = (text, size) => text.match(new RegExp(`[\\s\\S]{1,${size}}`, "g")) ?? [];
const tokens = (text) => Math.ceil(text.length / 4);

function answerTo(question) {
  if (question.includes("long prompt")) return { text: "Read.", reading: [[0, null], [512, 8], [1024, 5]], delay: 300 };
  if (question.includes("load first")) return { text: "Loaded.", loads: true };
  if (question.includes("Summarise our conversation")) return { text: "They talked about otters." };
  if (question.includes("hostile")) return { text: HOSTILE };
  if (question.includes("very long")) return { text: Array.from({ length: 1500 }, (_, n) => `Paragraph ${n}: ${"some words that go on ".repeat(8)}\n\n`).join(""), size: 400, delay: 12 };
  if (question.includes("slowly")) return { text: "word ".repeat(400), size: 5, delay: 20 };
  if (question.includes("cut off")) return { text: "This answer is", reason: "length" };
  if (question.includes("in circles")) return { text: "round and round and round", reason: "length", cut: "repetition" };
  if (question.includes("break")) return { text: "Half an answ", breaks: true };
  if (question.includes("Python") || question.includes("think")) return { thought: THOUGHT, text: CODE, size: 12, delay: 2 };
  return { text: `You said: ${question.slice(-60)}` };
}

function receipt(body, prompt, thought, text, end) {
  const [reasoning, output] = [tokens(thought), tokens(thought) + tokens(text)];
  const digest = (letter) => `sha256:${letter.repeat(8)}c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea3${letter.repeat(8)}`;
  return {
    receipt: 1,
    created: new Date().toISOString(),
    model: { name: body.model, weights_digest: digest("b"), weights_checked: true, tokenizer_digest: digest("a"), format: "harmony", template_digest: digest("f") },
    engine: { version: "0.1.0", instruction_set: "avx512", threads: 2, cache_type: "f16", exact: false },
    sampling: { seed: body.seed ?? 2661076391, temperature: body.temperature ?? 1, top_k: 0, top_p: 1, min_p: 0 },
    messages: body.messages.map(({ role, content }, n) => (n < body.messages.length - 1 && prompt > CONTEXT && body.ouvert?.truncation === "auto" ? { role, sent: 0, refused: tokens(content) } : { role, sent: tokens(content), refused: 0 })),
    asked: body.reasoning_effort ? { effort: body.reasoning_effort } : {},
    tokens: { prompt, reused: Math.floor(prompt / 2), reasoning, output, total: prompt + output },
    ended: { reason: end },
    seconds: { queued: 7.2e-5, prefill: 0.31, decode: 0.04 * output, ...(reasoning ? { thinking: 0.04 * reasoning } : {}) },
    connections: { attempted: 0, allowed: 0, denied: 0 },
  };
}

/** What the tests look at: every request body that asked for an answer, and answers whose reader went away. */
export function makeFakeServer({ key = null, openedFrom = "this_machine", guest = false } = {}) {
  const conversations = new Map();
  const asked = [];
  const titled = []; // requests for a title
  const state = { cancelled: 0, loaded: Promise.resolve(), models: MODELS.map((each) => ({ ...each })) };

  async function answer(request, response, body) {
    (body.stream === true ? asked : titled).push(body);
    let isOpen = true;
    response.on("close", () => {
      if (!response.writableEnded) state.cancelled += 1;
      isOpen = false;
    });
    const send = (chunk) => response.write(`data: ${JSON.stringify(chunk)}\n\n`);
    const delta = (value, finish_reason = null) => send({ id: "c", object: "chat.completion.chunk", choices: [{ index: 0, delta: value, finish_reason }] });
    const { thought = "", text, reason = "stop", cut = reason, size = 7, delay = 3, breaks = false, reading = [], loads = false } = answerTo(body.messages.at(-1).content);
    if (body.stream !== true) {
      response.writeHead(200, { "Content-Type": "application/json" });
      const title = body.messages[0].content.includes("otters live") ? "**Title: A matter of animals.**\n" : ""; // none: the question's beginning stays
      return response.end(JSON.stringify({ choices: [{ message: { role: "assistant", content: title } }] }));
    }
    if (loads) await load(body.model);
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    response.write(": ping\n\n");
    delta({ role: "assistant", content: "" });
    for (const [done, seconds_left] of body.ouvert.progress ? reading : []) {
      send({ id: "c", object: "chat.completion.chunk", choices: [], ouvert: { reading: { index: 0, done, total: 1500, reused: 0, seconds: 1, seconds_left } } });
      await pause(delay);
    }
    for (const piece of pieces(thought, 6)) {
      if (!isOpen) return;
      delta({ reasoning: piece, reasoning_content: piece });
      await pause(delay * 4);
    }
    for (const piece of pieces(text, size)) {
      if (!isOpen) return;
      delta({ content: piece });
      await pause(delay);
    }
    if (breaks) {
      await pause(100);
      response.destroy();
      return;
    }
    const prompt = count(body.messages);
    send({
      id: "c", object: "chat.completion.chunk", choices: [{ index: 0, delta: {}, finish_reason: reason }],
      ouvert: { receipt_id: "c", receipt: receipt(body, prompt, thought, text, cut) },
    });
    const completion = tokens(thought + text);
    send({ id: "c", object: "chat.completion.chunk", choices: [], usage: { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion } });
    response.end("data: [DONE]\n\n");
  }

  /** As a server does for the first answer: nothing is sent before the model is there. */
  async function load(id) {
    const model = state.models.find((each) => each.id === id);
    Object.assign(model, { state: "loading", progress: 0.37 });
    await state.loaded;
    Object.assign(model, { state: "loaded", progress: undefined });
  }

  const count = (messages) => 10 + messages.reduce((sum, { content }) => sum + 4 + tokens(content), 0);

  function conversationRoutes(method, path, url, body) {
    const id = path.split("/")[4];
    if (path === "/api/ui/export") return [200, { ouvert_export: 1, conversations: [...conversations.values()] }];
    if (path === "/api/ui/import") {
      const all = body.conversations ?? [body];
      for (const each of all) conversations.set(each.id, each);
      return [200, { added: all.map((each) => each.id), unchanged: [], copied: [] }];
    }
    if (!id && method === "DELETE") {
      conversations.clear();
      return [200, {}];
    }
    if (!id) {
      const query = (url.searchParams.get("query") ?? "").toLowerCase();
      const found = [...conversations.values()].filter((each) => JSON.stringify(each).toLowerCase().includes(query));
      const summaries = found.map(({ messages, settings: _, leaf: __, ...rest }) => {
        const hit = query && messages.find((each) => each.text.toLowerCase().includes(query));
        return { ...rest, messages: messages.length, ...(hit ? { excerpt: hit.text.slice(0, 120), message: hit.id } : {}) };
      });
      return [200, { conversations: summaries.sort((a, b) => (a.updated < b.updated ? 1 : -1)), damaged: [] }];
    }
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

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://localhost");
    const path = url.pathname;
    let body = "";
    for await (const piece of request) body += piece;
    body = body && JSON.parse(body);
    const json = (status, value) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(value));
    };
    if (!path.startsWith("/api/") && !path.startsWith("/v1/") && path !== "/tokenize") {
      const file = normalize(path === "/" ? "/index.html" : path);
      try {
        const content = readFileSync(join(PAGE, file));
        const policy = readFileSync(join(PAGE, "content-security-policy.txt"), "utf8").trim();
        response.writeHead(200, { "Content-Type": TYPES[extname(file)] ?? "text/plain", "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff" });
        response.end(content);
      } catch {
        json(404, { error: { message: "not found" } });
      }
      return;
    }
    const hasKey = !key || request.headers.authorization === `Bearer ${key}`;
    if (path === "/api/ui/session") return json(200, { opened_from: openedFrom, who: "owner", needs_key: !hasKey, reads_stored: hasKey && !guest });
    if (guest && path.startsWith("/api/ui/") && path !== "/api/ui/models") return json(401, { error: { message: "a key is needed" } });
    if (key && request.headers.authorization !== `Bearer ${key}`) return json(401, { error: { message: "a key is needed" } });
    if (path === "/v1/chat/completions" && body.messages.at(-1).content.includes("over the limit")) return json(400, { error: { message: "reading a prompt: too long", code: "context_length_exceeded", n_prompt_tokens: 9001, n_ctx: 2000 } });
    if (path === "/v1/chat/completions") return answer(request, response, body);
    if (path === "/api/ui/models") return json(200, { models: state.models });
    if (path === "/tokenize") return json(200, { count: count(body.messages), max_model_len: CONTEXT });
    return json(...conversationRoutes(request.method, path, url, body));
  });
  return { server, conversations, asked, titled, state };
}

const MODELS = [
  { id: "gpt-oss:20b", family: "gpt_oss", parameters: 20_900_000_000, size_bytes: 13_800_000_000, context: 131072, efforts: ["low", "medium", "high"], fit: { state: "fits", needs_bytes: 14_600_000_000, available_bytes: 21_000_000_000 }, state: "loaded" },
  { id: "qwen3-8b", family: "qwen3", parameters: 8_200_000_000, size_bytes: 5_000_000_000, context: 40960, efforts: [], fit: { state: "tight", needs_bytes: 6_100_000_000, available_bytes: 6_400_000_000 }, state: "loading", progress: 0.42 },
  { id: "gpt-oss:120b", family: "gpt_oss", parameters: 116_800_000_000, size_bytes: 65_000_000_000, context: 131072, efforts: ["low", "medium", "high"], fit: { state: "too_large", needs_bytes: 66_900_000_000, available_bytes: 21_000_000_000 }, state: "on_disk" },
  { id: "smollm2", family: "llama", parameters: 134_500_000, size_bytes: 98_000_000, context: 8192, efforts: [], toy: true, fit: { state: "fits", needs_bytes: 300_000_000, available_bytes: 21_000_000_000 }, state: "on_disk" },
];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { server } = makeFakeServer();
  server.listen(11436, "127.0.0.1");
  if (process.argv.includes("--vite")) {
    const { createServer: createVite } = await import("vite");
    const vite = await createVite({ server: { proxy: Object.fromEntries(["/api", "/v1", "/tokenize"].map((path) => [path, "http://127.0.0.1:11436"])) } });
    await vite.listen();
    vite.printUrls();
  } else console.log("http://127.0.0.1:11436");
}
