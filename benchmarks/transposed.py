"""Gradients through packed weights, beside the served product and beside llama.cpp's scheme:
`python benchmarks/transposed.py`.

For every layout, shape and number of tokens, in turns: the served product (activations to 8 bits and the product),
`transposed` (gradients to 16 bits and the product), `transposed_exact` (float32), and `ggml_out_prod`, which llama.cpp
computes the same gradients with: it unpacks every row again for every token, so it is asked for few tokens (its speed
does not depend on them). Figures are of medians; what ggml computes is held to what we compute. Needs xllamacpp (the
extra `bench`); it has no such product for BF16.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from ggml import TYPES, Ggml

from ouvert.kernels import Packed, Products, linear, pack, packed_bytes
from ouvert.weights import encode

# (what it is, layout, rows, columns)
CASES = (
    ("SmolLM2-135M, gate and up", "Q4_1", 1536, 576),
    ("SmolLM2-135M, down", "Q4_1", 576, 1536),
    ("gpt-oss-20b, an expert's gate and up", "MXFP4", 5760, 2880),
    ("gpt-oss-20b, an expert's down", "MXFP4", 2880, 2880),
    ("Llama-3.2-1B, gate and up", "Q4_K", 8192, 2048),
    ("Llama-3.2-1B, down", "Q4_K", 2048, 8192),
    ("gpt-oss-20b, queries", "Q8_0", 4096, 2880),
    ("gpt-oss-20b, queries", "BF16", 4096, 2880),
)
THEIR_TOKENS = 16


@dataclass(frozen=True)
class Case:
    """What is multiplied, and how it is called."""

    label: str
    weights: Packed
    encoded: np.ndarray  # as in a GGUF file

    @property
    def products(self) -> int:
        return self.weights.rows * self.weights.columns


def made(ggml: Ggml, label: str, layout: str, rows: int, columns: int) -> Case:
    values = np.random.default_rng(1).standard_normal((rows, columns)).astype(np.float32) / 16
    encoded = ggml.encoded(layout, values) if layout in TYPES else encode(layout, values).reshape(-1).view(np.uint8)
    packed, _ = pack(layout, encoded, rows, columns)
    assert len(packed) == packed_bytes(layout, rows, columns)
    return Case(label, Packed(layout, rows, columns, packed), encoded)


def medians(ways: Mapping[str, Callable[[], object]], repeats: int, threads: int) -> dict[str, float]:
    """Seconds of each, taken in turns. Of one thread they are CPU time: what other processes take does not count."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began = clock()
            way()
            times[name].append(clock() - began)
    return {name: statistics.median(each) for name, each in times.items()}


def row_of(ggml: Ggml, case: Case, tokens: int, products: Products, repeats: int) -> str:
    random, weights = np.random.default_rng(tokens), case.weights
    x = random.standard_normal((tokens, weights.columns)).astype(np.float32)
    dy = random.standard_normal((tokens, weights.rows)).astype(np.float32)
    y, dx = (np.empty((tokens, width), np.float32) for width in (weights.rows, weights.columns))
    ways: dict[str, Callable[[], object]] = {
        "linear": lambda: products.linear(weights, x, out=y),
        "transposed": lambda: products.transposed(weights, dy, out=dx),
        "exact": lambda: products.transposed_exact(weights, dy, out=dx),
    }
    theirs = None
    if weights.layout in TYPES:
        theirs = product = ggml.out_product(weights.layout, case.encoded, dy[:THEIR_TOKENS], weights.columns)
        ways["ggml"] = lambda: product(products.threads)
    took = medians(ways, repeats, products.threads)
    rates = {name: case.products * (THEIR_TOKENS if name == "ggml" else tokens) / each for name, each in took.items()}
    cells = [f"{rates[name] / 1e9:.0f}" for name in ("linear", "transposed", "exact")]
    cells += [f"**{rates['transposed'] / rates['linear']:.2f}**", f"{rates['exact'] / rates['linear']:.2f}"]
    if theirs is None:
        return " | ".join([*cells, "none", ""])
    apart = np.abs(theirs.result - products.transposed_exact(weights, dy[:THEIR_TOKENS])).max()
    assert apart < 1e-4 * np.abs(theirs.result).max(), f"ggml computes something else: {apart} apart"
    theirs.close()
    return " | ".join([*cells, f"{rates['ggml'] / 1e9:.2f}", f"**{rates['transposed'] / rates['ggml']:.0f}**"])


def table(threads: int, set_: str, tokens: list[int], repeats: int) -> Iterator[str]:
    ggml, products = Ggml(), Products(threads, instruction_set=set_)
    yield f"GMAC/s, {set_}, {threads} threads"
    yield ""
    yield (
        "| | tokens | served | transposed | exact | transposed / served | exact / served | ggml | transposed / ggml |"
    )
    yield "|---|" + "---|" * 8
    for case in CASES:
        each = made(ggml, *case)
        for count in tokens:
            label = f"{each.label}, {each.weights.layout}, {each.weights.rows} × {each.weights.columns}"
            yield f"| {label} | {count} | {row_of(ggml, each, count, products, repeats)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", dest="set_", choices=linear.available_instruction_sets(), nargs="+")
    parser.add_argument("--tokens", type=int, nargs="+", default=[64, 128, 512])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    for set_ in args.set_ or linear.available_instruction_sets()[1:]:
        for line in table(args.threads, set_, args.tokens, args.repeats):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
