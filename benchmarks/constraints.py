"""What a constraint costs: microseconds a token for the set of allowed tokens, and how much of it a step could hide.

    python benchmarks/constraints.py                       # SmolLM2's and o200k's vocabulary
    python benchmarks/constraints.py --repeats 5 --json

Three costs a token: finding which tokens may come next (llguidance's mask, made into ids), taking the token into
account, and choosing among the allowed ids instead of all. Texts are written by a model of noise, so strings are
longer and stranger than a real model's. The share of a step is told for SmolLM2, whose weights are here; beside, the
same steps, of one answer and of many, with the masks computed meanwhile in another thread.
"""

import argparse
import gzip
import importlib.resources
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ouvert.assistant.vocabulary import vocabulary_of
from ouvert.chat import Conversation, Message, Tool, format_for
from ouvert.engine import Constraint, ConstraintState, Grammar, Sampling, Vocabulary
from ouvert.engine.runners.interface import Runner
from ouvert.engine.sampler import Sampler
from ouvert.store import Store
from ouvert.tokenization import Tokenizer, tokenizer_from_gguf, tokenizer_from_ranks
from ouvert.weights import open_checkpoint

HOME = Path(__file__).parents[1] / "build" / "store"
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "tags": {"type": "array", "items": {"enum": ["new", "old", "kept"]}, "maxItems": 4},
        "address": {
            "type": "object",
            "properties": {
                "street": {"type": "string", "maxLength": 40},
                "zip": {"type": "string", "pattern": "^[0-9]{5}$"},
            },
            "required": ["street", "zip"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age", "tags", "address"],
    "additionalProperties": False,
}
GRAMMARS = {
    "JSON schema": Grammar.json_schema(PERSON),
    "any JSON object": Grammar.json_schema({"type": "object"}),
    "regex": Grammar.regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?Z [a-z ]{10,60}"),
    "one of": Grammar.one_of([f"choice number {n}" for n in range(50)]),
}
MOST_TOKENS = 300
TOGETHER = (1, 8, 32)  # answers in a step
STEPS = 24


def o200k() -> Tokenizer:
    """gpt-oss's vocabulary, from the package bpe-openai (MIT)."""
    packed = importlib.resources.files("bpe_openai") / "data" / "o200k_base.tiktoken.gz"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "o200k_base.tiktoken"
        path.write_bytes(gzip.decompress(packed.read_bytes()))
        return tokenizer_from_ranks(path)


def steps(constraint: Constraint, size: int, seed: int) -> Iterator[tuple[float, float, float, int]]:
    """Seconds for the allowed ids, for choosing, for taking the choice into account; how many were allowed."""
    random = np.random.default_rng(seed)
    sampler = Sampler(Sampling(seed=seed), [], size)
    following = constraint.begin()
    for _ in range(MOST_TOKENS):
        scores = random.standard_normal(size, np.float32)
        began = time.perf_counter()
        if following.finished:
            return
        allowed = following.allowed()
        masked = time.perf_counter()
        token = sampler.choose(scores, allowed).id
        chosen = time.perf_counter()
        following.advance(token)
        yield masked - began, chosen - masked, time.perf_counter() - chosen, size if allowed is None else allowed.size


def measured(constraint: Constraint, size: int, repeats: int) -> dict[str, float]:
    rows = [row for seed in range(repeats) for row in steps(constraint, size, seed)]
    masks = sorted(row[0] * 1e6 for row in rows)
    return {
        "tokens": len(rows),
        "mask_us": statistics.median(masks),
        "mask_us_95": masks[int(len(masks) * 0.95)],
        "mask_us_most": masks[-1],
        "choose_us": statistics.median(row[1] * 1e6 for row in rows),
        "advance_us": statistics.median(row[2] * 1e6 for row in rows),
        "allowed": statistics.median(row[3] for row in rows),
    }


def free_choice(size: int) -> float:
    """Microseconds to choose without a constraint."""
    sampler = Sampler(Sampling(seed=0), [], size)
    times = []
    for seed in range(20):
        scores = np.random.default_rng(seed).standard_normal(size, np.float32)
        began = time.perf_counter()
        sampler.choose(scores)
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


def harmony(tokenizer: Tokenizer, vocabulary: Vocabulary) -> Constraint:
    """What every answer of gpt-oss with one tool is held to."""
    from ouvert.assistant.outline_constraint import OutlineConstraint

    chat = format_for(tokenizer)
    talk = Conversation(messages=(Message(role="user", content="?"),), tools=(Tool(name="person", parameters=PERSON),))
    outline = chat.outline(talk, chat.render(talk), calls="required")
    contents = [
        None if segment.schema is None else vocabulary.compile(Grammar.json_schema(segment.schema))
        for segment in outline.segments
    ]
    return OutlineConstraint(outline, contents, vocabulary, think_budget=50)


def all_masks(states: Sequence[ConstraintState]) -> list[np.ndarray | None]:
    """As a step of the engine finds them: one after the other."""
    return [following.allowed() for following in states]


def together(vocabulary: Vocabulary, constraint: Constraint, answers: int, repeats: int) -> dict[str, float]:
    """Microseconds a step for the allowed ids of several answers, found one after the other."""
    random, times = np.random.default_rng(answers), []
    states = [constraint.begin() for _ in range(answers)]
    for _ in range(20 * repeats):
        began = time.perf_counter()
        found = all_masks(states)
        times.append((time.perf_counter() - began) * 1e6)
        for n, ids in enumerate(found):
            if states[n].finished:
                states[n] = constraint.begin()
            else:
                states[n].advance(int(random.choice(ids)))
    times.sort()
    return {"us": statistics.median(times), "us_95": times[int(len(times) * 0.95)], "us_most": times[-1]}


def overlap(path: Path, constraint: Constraint, answers: int, repeats: int) -> dict[str, float]:
    """Milliseconds a step of several answers on SmolLM2: without a constraint, with masks after the step, meanwhile."""
    import ouvert

    medians: dict[str, list[float]] = {"free": [], "after": [], "meanwhile": []}
    with ouvert.load(path, store=Store(HOME), context=512) as model:
        runner = model.engine._runner
        for repeat in range(repeats):
            for way, found in medians.items():
                found.append(statistics.median(step_times(runner, constraint, answers, repeat, way)))
    return {way: statistics.median(found) for way, found in medians.items()}


def step_times(runner: Runner, constraint: Constraint, answers: int, seed: int, way: str) -> list[float]:
    prompt = np.arange(100, 116, dtype=np.int32)
    sequences = [runner.new_sequence(512) for _ in range(answers)]
    for sequence in sequences:
        logits = runner.step([(sequence, prompt)], "last")
    logits = np.repeat(logits, answers, axis=0)
    states = [constraint.begin() for _ in range(answers)]
    samplers = [Sampler(Sampling(temperature=1.0, seed=seed + n), [], logits.shape[1]) for n in range(answers)]
    times = []
    for _ in range(STEPS):
        allowed = [None] * answers if way == "free" else all_masks(states)  # known already
        tokens = [sampler.choose(row, ids).id for sampler, row, ids in zip(samplers, logits, allowed, strict=True)]
        work = [(sequence, np.array([token], np.int32)) for sequence, token in zip(sequences, tokens, strict=True)]
        began = time.perf_counter()
        if way != "free":
            for n, token in enumerate(tokens):
                states[n].advance(token)
                if states[n].finished:
                    states[n] = constraint.begin()
        if way == "meanwhile":
            other = threading.Thread(target=all_masks, args=(states,))
            other.start()
            logits = runner.step(work, "last")
            other.join()
        else:
            logits = runner.step(work, "last")
            if way == "after":
                all_masks(states)
        times.append((time.perf_counter() - began) * 1e3)
    for sequence in sequences:
        sequence.close()
    return times


def figures_of(tokenizer: Tokenizer, repeats: int) -> tuple[Vocabulary, dict[str, dict[str, float]]]:
    """What each grammar costs over this vocabulary, for one answer and for several at once."""
    began = time.perf_counter()
    vocabulary = vocabulary_of(tokenizer, tokenizer.vocabulary_size)
    read = time.perf_counter()
    vocabulary.compile(Grammar.regex("a"))
    ready = time.perf_counter()
    found = {
        "made once": {"bytes_ms": (read - began) * 1e3, "trie_ms": (ready - read) * 1e3},
        "no constraint": {"choose_us": free_choice(vocabulary.size)},
    }
    for kind, grammar in GRAMMARS.items():
        began = time.perf_counter()
        constraint = vocabulary.compile(grammar)
        compiled = (time.perf_counter() - began) * 1e3
        found[kind] = {"compile_ms": compiled, **measured(constraint, vocabulary.size, repeats)}
    for kind in ("JSON schema", "any JSON object"):
        for answers in TOGETHER:
            constraint = vocabulary.compile(GRAMMARS[kind])
            found[f"{answers}: {kind}"] = together(vocabulary, constraint, answers, repeats)
    return vocabulary, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    smollm2, large = Store(HOME).pull("smollm2").path, o200k()
    small = tokenizer_from_gguf(open_checkpoint(smollm2).metadata)
    vocabulary, of_small = figures_of(small, args.repeats)
    for answers in TOGETHER:
        constraint = vocabulary.compile(GRAMMARS["JSON schema"])
        of_small[f"step of {answers} (ms)"] = overlap(smollm2, constraint, answers, args.repeats)
    vocabulary, of_large = figures_of(large, args.repeats)
    of_large["Harmony"] = measured(harmony(large, vocabulary), vocabulary.size, args.repeats)
    named = (("SmolLM2", small, of_small), ("o200k", large, of_large))
    found = {f"{name} ({tokenizer.vocabulary_size} tokens)": figures for name, tokenizer, figures in named}
    print(json.dumps(found) if args.json else as_text(found))


def as_text(found: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = []
    for name, rows in found.items():
        lines.append(name)
        for kind, figures in rows.items():
            lines.append(f"  {kind:>18}  " + "  ".join(f"{key} {value:.3g}" for key, value in figures.items()))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
