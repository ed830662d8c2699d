/** What the fake server answers: texts from a list, chosen by words of the question, with a receipt of the right shape. */
import { sampledAnswer } from "./fake-traces.mjs";

export const CONTEXT = 2000; // tokens

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

const tokens = (text) => Math.ceil(text.length / 4);
export const promptTokens = (messages) => 10 + messages.reduce((sum, { content }) => sum + 4 + tokens(content), 0);

export function answerTo(question, edits) {
  if (question.includes("long prompt")) return { text: "Read.", reading: [[0, null], [512, 8], [1024, 5]], delay: 300 };
  if (edits) return { text: edits[0].heads?.includes(0) ? "Something else." : sampledAnswer() };
  if (question.includes("edited")) return { text: "Très bien.", edited: true };
  if (question.includes("capital of France")) return { text: sampledAnswer() };
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

export function receiptOf(body, { thought = "", text, reason = "stop", cut = reason, edited = false }) {
  const prompt = promptTokens(body.messages);
  const [reasoning, output] = [tokens(thought), tokens(thought) + tokens(text)];
  const digest = (letter) => `sha256:${letter.repeat(8)}c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea3${letter.repeat(8)}`;
  return {
    receipt: 1,
    created: new Date().toISOString(),
    model: { name: body.model, weights_digest: digest("b"), weights_checked: true, tokenizer_digest: digest("a"), format: "harmony", template_digest: digest("f") },
    engine: { version: "0.1.0", instruction_set: "avx512", threads: 2, cache_type: "f16", exact: false, variant: edited ? digest("e") : "base" },
    sampling: { seed: body.seed ?? 2661076391, temperature: body.temperature ?? 1, top_k: 0, top_p: 1, min_p: 0 },
    messages: body.messages.map(({ role, content }, n) => (n < body.messages.length - 1 && prompt > CONTEXT && body.ouvert?.truncation === "auto" ? { role, sent: 0, refused: tokens(content) } : { role, sent: tokens(content), refused: 0 })),
    asked: body.reasoning_effort ? { effort: body.reasoning_effort } : {},
    tokens: { prompt, reused: Math.floor(prompt / 2), reasoning, output, total: prompt + output },
    ended: { reason: cut },
    seconds: { queued: 7.2e-5, prefill: 0.31, decode: 0.04 * output, ...(reasoning ? { thinking: 0.04 * reasoning } : {}) },
    connections: { attempted: 0, allowed: 0, denied: 0 },
  };
}

export function usageOf(body, { thought = "", text }) {
  const [prompt, completion] = [promptTokens(body.messages), tokens(thought + text)];
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion };
}
