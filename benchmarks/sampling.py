"""What choosing a token costs: microseconds a row, for the vocabularies of SmolLM2 and gpt-oss.

    python benchmarks/sampling.py                  # the native part
    python benchmarks/sampling.py --plain          # and its NumPy twin
    python benchmarks/sampling.py --peers          # and llama.cpp's samplers, transformers
    python benchmarks/sampling.py --json

Two kinds of rows: `sure`, as a language model's are in the middle of a sentence (a few hundred likely words, a long
tail), and `flat`, where half of the vocabulary is likely. Rows are written anew before each choice, as a step does.
Figures are medians over the choices of a batch, in one thread.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ouvert.arithmetic import sampling as plain
from ouvert.engine import Sampling
from ouvert.engine.sampler import Machinery, Sampler, choose_all, machinery

VOCABULARIES = {"SmolLM2": 49_152, "gpt-oss": 201_088}
CASES = {
    "greedy": Sampling(temperature=0),
    "temperature 1": Sampling(),
    "top-k 40, top-p 0.95": Sampling(top_k=40, top_p=0.95),
    "top-p 0.95": Sampling(top_p=0.95),
    "min-p 0.05": Sampling(min_p=0.05),
    "penalties": Sampling(repetition_penalty=1.1, presence_penalty=0.5, frequency_penalty=0.5),
    "greedy, logprobs 5": Sampling(temperature=0, logprobs=5),
    "temperature 1, logprobs 5": Sampling(logprobs=5),
    "all but 100 allowed": Sampling(),
    "half allowed": Sampling(),
    "300 allowed": Sampling(),
}
PROMPT = 2_000  # tokens that penalties count


def rows_of(kind: str, rows: int, size: int) -> np.ndarray:
    random = np.random.default_rng(size + rows)
    if kind == "flat":
        return random.standard_normal((rows, size), np.float32)
    found = (random.standard_normal((rows, size)) * 2.2).astype(np.float32)
    for row in found:
        likely = random.choice(size, 400, replace=False)
        row[likely] += 16 - 1.6 * np.log(np.arange(1, 401)) + random.standard_normal(400)
    return found


def allowed_of(case: str, size: int) -> np.ndarray | None:
    random = np.random.default_rng(1)
    match case:
        case "all but 100 allowed":
            return np.delete(np.arange(size), random.choice(size, 100, replace=False))
        case "half allowed":
            return np.sort(random.choice(size, size // 2, replace=False))
        case "300 allowed":
            return np.sort(random.choice(size, 300, replace=False))
    return None


def microseconds(choose: Callable[[np.ndarray], Any], source: np.ndarray, least_seconds: float) -> float:
    """Of one row, the median."""
    logits = np.empty_like(source)
    times: list[float] = []
    while len(times) < 3 or sum(times) < least_seconds:
        logits[:] = source
        began = time.perf_counter()
        choose(logits)
        times.append(time.perf_counter() - began)
    return statistics.median(times) / len(source) * 1e6


def by_us(case: str, size: int, rows: int, by: Machinery) -> Callable[[np.ndarray], Any]:
    prompt = np.random.default_rng(2).integers(0, size, PROMPT).tolist()
    samplers = [Sampler(CASES[case], prompt, size) for _ in range(rows)]
    return partial(choose_all, samplers=samplers, allowed=[allowed_of(case, size)] * rows, by=by)


def by_transformers(case: str, size: int) -> Callable[[np.ndarray], Any] | None:
    """Processors and a draw from the softmax, in torch, one thread."""
    import torch
    from transformers import generation

    asked = CASES[case]
    if asked.logprobs is not None or allowed_of(case, size) is not None or asked.presence_penalty:
        return None
    torch.set_num_threads(1)
    steps = []
    if asked.top_k:
        steps.append(generation.TopKLogitsWarper(asked.top_k))
    if asked.top_p < 1:
        steps.append(generation.TopPLogitsWarper(asked.top_p))
    if asked.min_p:
        steps.append(generation.MinPLogitsWarper(asked.min_p))
    ids = torch.zeros((1, 1), dtype=torch.long)

    def choose(logits: np.ndarray) -> object:
        scores = torch.from_numpy(logits)
        for step in steps:
            scores = step(ids, scores)
        if asked.temperature == 0:
            return scores.argmax(-1)
        return torch.multinomial(torch.softmax(scores, -1), 1)

    return choose


def by_llama_cpp(case: str, size: int) -> Callable[[np.ndarray], Any] | None:
    """A chain of samplers in our order, without grammar."""
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[1] / "tests" / "references" / "engine" / "llama_samplers.py"
    spec = importlib.util.spec_from_file_location("llama_samplers", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked = CASES[case]
    if asked.logprobs is not None or allowed_of(case, size) is not None:
        return None
    chain = module.Chain(asked, np.random.default_rng(2).integers(0, size, PROMPT).tolist(), size, draws=True)
    return lambda logits: [chain.choose(row) for row in logits]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.05, help="at least, for each figure")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--plain", action="store_true", help="measure the NumPy twin as well, with one row")
    parser.add_argument("--peers", action="store_true", help="measure transformers and llama.cpp, with one row")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def figures_of(case: str, size: int, kind: str, options: argparse.Namespace) -> dict[str, float | None]:
    """Microseconds of a choice, by ourselves with so many rows, and by others with one; None: they do not have it."""
    figures: dict[str, float | None] = {}
    for rows in options.batches:
        choose = by_us(case, size, rows, machinery())
        figures[f"{rows} rows"] = microseconds(choose, rows_of(kind, rows, size), options.seconds)
    others: dict[str, Callable[[np.ndarray], Any] | None] = {}
    if options.plain:
        others["NumPy"] = by_us(case, size, 1, plain)
    if options.peers:
        others["transformers"] = by_transformers(case, size)
        others["llama.cpp"] = by_llama_cpp(case, size)
    for other, how in others.items():
        figures[other] = how and microseconds(how, rows_of(kind, 1, size), options.seconds)
    return figures


def main() -> None:
    options = arguments()
    found = []
    for (name, size), case, kind in itertools.product(VOCABULARIES.items(), CASES, ("sure", "flat")):
        figures = figures_of(case, size, kind, options)
        found.append({"vocabulary": name, "case": case, "rows": kind, "microseconds": figures})
        if not options.json:
            told = "  ".join(f"{key} {'–' if us is None else f'{us:.0f}'}" for key, us in figures.items())
            print(f"{name:8} {case:26} {kind}  {told}", flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
