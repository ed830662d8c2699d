"""What a step costs beside its arithmetic, and where a step's time goes.

    python benchmarks/overhead.py MODEL.gguf [--threads 2] [--prompt 512] [--depth 0]

The overhead is measured on a step whose instructions are handed out to the threads and do nothing. Figures are the
best of many steps: on a busy machine the others say more about the neighbours.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ouvert import kernels, models, packed, weights


def best_seconds(action: Callable[[], object], repeats: int) -> float:
    found = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        found = min(found, time.perf_counter() - began)
    return found


def profile(program: kernels.Program, sequence: kernels.Sequence, ids: np.ndarray, repeats: int) -> None:
    """A table of the best seconds of each kind of instruction."""
    length = sequence.length
    best: dict[str, tuple[float, int]] = {}
    for _ in range(repeats):
        for kind, seconds, count in program.profile([(sequence, ids)], "last"):
            best[kind] = (min(seconds, best.get(kind, (float("inf"), 0))[0]), count)
        sequence.truncate(length)
    total = sum(seconds for seconds, _ in best.values())
    print(f"| {len(ids)} tokens at {length} | instructions | µs | share |\n|---|---|---|---|")
    for kind, (seconds, count) in sorted(best.items(), key=lambda row: -row[1][0]):
        print(f"| {kind} | {count} | {seconds * 1e6:.0f} | {seconds / total:.1%} |")
    print()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt that is profiled")
    parser.add_argument("--depth", type=int, default=8, help="tokens before the one that is decoded; at least 1")
    parser.add_argument("--instruction-set", choices=("plain", "avx2", "avx512"))
    return parser.parse_args()


def traced(options: argparse.Namespace) -> "tuple[kernels.Program, float]":
    """The model's program, and how many seconds it took to trace its graph."""
    with weights.open_checkpoint(options.model) as checkpoint:
        tracer = kernels.Tracer()
        model = models.load(checkpoint, packed.InMemory())
        began = time.perf_counter()
        program = kernels.build(tracer, model, threads=options.threads, instruction_set=options.instruction_set)
        return program, time.perf_counter() - began


def main() -> None:
    options = arguments()
    program, tracing = traced(options)
    random = np.random.default_rng(0)
    ids = random.integers(0, program.vocabulary_size, max(options.prompt, options.depth, 1)).astype(np.int32)
    one = ids[:1]

    sequence = program.new_sequence(10**6)
    program.step([(sequence, ids[: options.depth])], "none")
    step = best_seconds(lambda: program.step([(sequence, one)], "last"), 200)
    idle = program.new_sequence(10**6)
    empty = best_seconds(lambda: program.step_without_work([(idle, one)], "last"), 200)
    print(
        f"{options.model.name}, {program.threads} threads, {program.instruction_set}, {len(program.kinds)} instructions"
    )
    print(f"tracing {tracing * 1e3:.0f} ms; decoding {step * 1e3:.2f} ms, of which overhead {empty * 1e6:.0f} µs")
    print(f"({empty / step:.1%}, {empty * 1e9 / len(program.kinds):.0f} ns an instruction)\n")
    profile(program, sequence, one, 100)
    prompt = program.new_sequence(10**6)
    program.step([(prompt, one)], "none")
    profile(program, prompt, ids[: options.prompt], 5)


if __name__ == "__main__":
    main()
