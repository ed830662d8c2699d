"""`ouvert bench MODEL`: how fast a model runs on this machine."""

import argparse
import json
import sys
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from ouvert.cli.arguments import add_cache_argument, add_model_argument, add_settings
from ouvert.cli.environment import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from ouvert.engine import AskedPrecision, Engine, Opened, Stopped, Variant
    from ouvert.store import Installed, Store

SUMMARY = "Measure how fast a model runs on this machine."
SEED = 20  # of the random tokens
WARM_PROMPT, WARM_TOKENS = 64, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{SUMMARY} Random tokens, after a run that warms up; medians of the repeats. Needs no tokenizer. A prompt is "
        "read from nothing, and tokens are generated after --depth tokens of context, each measured on its own."
    )
    add_model_argument(parser, help="a short name, a name in the store, a folder or a file")
    parser.add_argument("--prompt", type=positive, default=512, metavar="N", help="tokens of a prompt (512)")
    parser.add_argument("--generate", type=at_least_two, default=32, metavar="N", help="tokens of an answer (32)")
    parser.add_argument("--depth", type=not_negative, default=0, metavar="N", help="context before the answer (0)")
    parser.add_argument("--repeat", type=positive, default=3, metavar="N", help="times each is measured (3)")
    parser.add_argument("--threads", type=positive, metavar="N", help="threads that compute (what serves best)")
    parser.add_argument("--exact", action="store_true", help="keep activations in float32 where it is faster not to")
    add_cache_argument(parser)
    add_settings(parser, "precision", "memory")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """0: measured. One table or JSON object on stdout."""
    from time import perf_counter

    from ouvert.assistant import bytes_in_memory, open_installed, pack_installed, precision_of
    from ouvert.cli.machine import resident_bytes
    from ouvert.cli.progress import show_progress

    store = open_store()
    installed = store.resolve(args.model)
    precision = precision_of(installed, args.precision)
    pack_installed(store, installed, show_progress(sys.stderr), precision)
    began = perf_counter()
    opened = open_installed(
        store,
        installed,
        threads=args.threads,
        exact=args.exact,
        cache=args.cache,
        precision=precision,
        memory=args.memory,
    )
    load_seconds = perf_counter() - began
    engine = opened.engine
    try:
        variant = variant_asked_for(store, installed, opened)
        runs = measure(engine, Settings(args.prompt, args.generate, args.depth, args.repeat), variant)
        resident = resident_bytes()
    finally:
        engine.close()
    facts = facts_of(installed.called, opened, runs, args) | {
        "precision": engine.facts.identity.precision,
        "weights_bytes": bytes_in_memory(installed, precision),
        "load_seconds": round(load_seconds, 3),
        "resident_bytes": resident,
    }
    if opened.memory_plan is not None:
        facts |= from_disk(opened, runs)
    elif args.memory is None:
        facts |= foretold(installed.path, precision, facts)
    print(json.dumps(facts) if args.json else as_table(facts))
    return 0


def as_table(facts: dict[str, Any]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {value}" for name, value in facts.items())


def facts_of(name: str, opened: "Opened", runs: "Runs", args: argparse.Namespace) -> dict[str, Any]:
    """What was measured, of what, and how."""
    return {
        "model": name,
        "family": opened.family,
        "prefill_tokens_per_second": round(args.prompt / median(runs.prefill), 2),
        "decode_tokens_per_second": round((args.generate - 1) / median(runs.decode), 2),
        "first_token_seconds": round(median(runs.first_token), 4),
        "threads": opened.threads,
        "instruction_set": opened.instruction_set,
        "cache_type": opened.cache_type,
        "parameters": opened.parameters,
        "prompt": args.prompt,
        "generate": args.generate,
        "depth": args.depth,
        "repeat": args.repeat,
        "exact": args.exact,
        "prefill_tokens_per_second_each": [round(args.prompt / seconds, 2) for seconds in runs.prefill],
        "decode_tokens_per_second_each": [round((args.generate - 1) / seconds, 2) for seconds in runs.decode],
    }


def foretold(path: "Path", precision: "AskedPrecision | None", measured: dict[str, Any]) -> dict[str, Any]:
    """What `ouvert fit` would have said, and whether it was right. Empty where nothing can be foretold: for NumPy, and
    for activations in float32."""
    from ouvert.engine import memory_bytes

    memory = memory_bytes()
    if measured["instruction_set"] == "numpy" or measured["exact"] or memory is None:
        return {}
    from ouvert.engine import demand_of_files, forecast, measure_machine

    machine = measure_machine(memory, measured["threads"])
    at_depth = forecast(
        demand_of_files(path, measured["cache_type"], precision), machine, max(1, 2 * measured["depth"])
    )
    facts: dict[str, Any] = {"read_bytes_per_second": round(machine.bandwidth)}
    for what, (low, high) in (("decode", at_depth.decode), ("prefill", at_depth.prefill)):
        facts[f"forecast_{what}_tokens_per_second"] = [round(low, 2), round(high, 2)]
        facts[f"forecast_{what}_was_right"] = low <= measured[f"{what}_tokens_per_second"] <= high
    return facts


def from_disk(opened: "Opened", runs: "Runs") -> dict[str, Any]:
    """How memory was divided, and what decoding read of experts. `ouvert fit --memory` has the forecast."""
    plan, tokens = opened.memory_plan, sum(each.output_tokens - 1 for each in runs.decoded)
    assert plan is not None  # noqa: S101 - the caller has looked
    uses = [each.experts for each in runs.decoded if each.experts is not None]
    return {
        "resident_weights_bytes": plan.resident,
        "experts_kept_bytes": plan.experts,
        "experts_bytes": plan.all_experts,
        "experts_hit_rate": round(sum(each.hits for each in uses) / max(1.0, sum(each.lookups for each in uses)), 4),
        "experts_read_bytes_per_token": round(sum(each.read_bytes for each in uses) / max(1, tokens)),
    }


@dataclass(frozen=True, slots=True)
class Settings:
    prompt: int
    generate: int
    depth: int
    repeat: int


@dataclass(frozen=True, slots=True)
class Runs:
    """Seconds, one for each repeat; `decoded` are the answers that `decode` timed."""

    prefill: list[float]
    decode: list[float]
    first_token: list[float]
    decoded: "list[Stopped]"


def variant_asked_for(store: "Store", installed: "Installed", opened: "Opened") -> "Variant":
    """That of the adapters in the model's name. Raises what `ModelAdapters.variant` raises."""
    from ouvert.assistant import ModelAdapters
    from ouvert.chat import Language

    language = Language(installed.name, opened.family, opened.metadata, opened.folder, None)
    return ModelAdapters(store.adapters, installed.name, opened, language).variant(installed.adapters)


def measure(engine: "Engine", settings: Settings, variant: "Variant | None" = None) -> Runs:
    """Every prompt begins with another token than the one before, so that nothing of it is reused."""
    import numpy as np

    random = np.random.default_rng(SEED)
    used: list[int] = []

    def prompt(tokens: int) -> list[int]:
        ids = random.integers(0, engine.vocabulary_size, tokens).tolist()
        while used and ids[0] == used[-1]:
            ids[0] = int(random.integers(0, engine.vocabulary_size))
        used.append(ids[0])
        return [int(each) for each in ids]

    before_answer = max(settings.depth, 1)
    timed(engine, prompt(min(settings.prompt, WARM_PROMPT)), WARM_TOKENS, variant)
    runs = Runs([], [], [], [])
    for _ in range(settings.repeat):
        stopped = timed(engine, prompt(settings.prompt), 1, variant)
        runs.prefill.append(stopped.seconds_prefill)
        runs.first_token.append(stopped.seconds_queued + stopped.seconds_prefill)
        runs.decoded.append(timed(engine, prompt(before_answer), settings.generate, variant))
        runs.decode.append(runs.decoded[-1].seconds_decode)
    return runs


def timed(engine: "Engine", ids: list[int], tokens: int, variant: "Variant | None" = None) -> "Stopped":
    """Read `ids` and generate exactly `tokens`, greedily."""
    from ouvert.engine import BASE, EngineError, Sampling

    generation = engine.generate(ids, Sampling(temperature=0, max_tokens=tokens), variant or BASE)
    for _ in generation:
        pass
    stopped = generation.stopped
    if stopped.output_tokens < tokens:
        raise EngineError(
            f"bench: {len(ids)} tokens of context and {tokens} generated need {len(ids) + tokens}, and this model "
            f"holds {engine.context}. Ask for less."
        )
    return stopped


def positive(text: str) -> int:
    return whole(text, 1)


def at_least_two(text: str) -> int:
    return whole(text, 2)


def not_negative(text: str) -> int:
    return whole(text, 0)


def whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
    return int(text)
