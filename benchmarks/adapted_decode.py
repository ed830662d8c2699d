"""What adapters cost while text is written: tokens a second with them beside those of the bare model, in one run.

    python benchmarks/adapted_decode.py MODEL [--threads 2] [--depth 256] [--rank 16] [--repeats 60]
    python benchmarks/adapted_decode.py MODEL --first-token

MODEL is a GGUF file or a folder of safetensors. Adapters add to every weight that may carry one, experts included;
their numbers are random. The plain program writes a token of one and of eight sequences, and the sibling with room for
adapters does it without any, with one adapter, and with three among eight sequences: in turn, so that what the machine
does besides meets all. `BF16`, `MXINT8`: the adapter's numbers have 16 or 8 bits. Ratios are of the medians, and of the
best steps.

`--first-token` measures the first token of a prompt of 6,000 tokens through the engine bare and with an
adapter: computed, seen before, and seen before a restart, when its pages come from the disk.
"""

import argparse
import shutil
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np

from ouvert import kernels, models, packed, weights
from ouvert.arithmetic import LowRank, as_mxint8
from ouvert.engine import BASE, PageFiles, Sampling, ScaledAdapter, Variant, open_engine

PROMPT_TOKENS = 6000


def pairs_of(model: models.Model, rank: int, seed: int, bits: int = 32) -> dict[str, LowRank]:
    """Random additions to everything, small enough that numbers stay finite. `bits`: 8 (MXINT8), 16 or 32 of each
    number."""
    random = np.random.default_rng(seed)
    mask = np.uint32(0xFFFFFFFF if bits == 32 else 0xFFFF0000)

    def numbers(*shape: int) -> np.ndarray:
        values = random.standard_normal(shape, np.float32) * np.float32(0.01)
        return as_mxint8(values) if bits == 8 else (values.view(np.uint32) & mask).view(np.float32)

    pairs = {}
    for name, shape in models.adaptable_shapes(model).items():
        many = () if shape.experts is None else (shape.experts,)
        experts = None if shape.experts is None else tuple(range(shape.experts))
        a, b = numbers(*many, rank, shape.columns), numbers(*many, shape.rows, rank)
        pairs[name] = LowRank(a, b, 2.0, experts)
    return pairs


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--depth", type=int, default=256, help="tokens before the one that is written")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--first-token", action="store_true")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.first_token:
        first_token(options)
        return
    with weights.open_checkpoint(options.model) as checkpoint:
        model = models.load(checkpoint, packed.InMemory())
    programs = kernels.Programs(model, threads=options.threads)
    adapters = [kernels.Adapters(pairs_of(model, options.rank, seed)) for seed in range(3)]
    shorter, short = (kernels.Adapters(pairs_of(model, options.rank, 0, bits=bits)) for bits in (8, 16))
    roomy = programs.sibling(adapted=model.adaptable)
    size = sum(pair.a.size + pair.b.size for pair in pairs_of(model, options.rank, 0).values())
    print(f"{options.model.name}, {options.threads} threads, {programs.plain.instruction_set}, rank {options.rank}, ")
    print(f"{size / 1e6:.1f} million numbers in an adapter, {options.depth} tokens before\n")
    print("| sequences | adapters | ms a step, best | median | ratio of the best | of the medians |")
    print("|---|---|--:|--:|--:|--:|")
    sets = {"room for them, none there": [()], "one": [(adapters[0],)]}
    sets |= {"one, BF16": [(short,)], "one, MXINT8": [(shorter,)]}
    for count in (1, 8):
        chosen = sets if count == 1 else sets | {"three": [(), *((each,) for each in adapters)]}
        runs = {"(plain program)": (programs.plain, [()])} | {name: (roomy, each) for name, each in chosen.items()}
        report(programs, runs, count, options)


def report(
    programs: kernels.Programs,
    runs: dict[str, tuple[kernels.Program, list[tuple[kernels.Adapters, ...]]]],
    count: int,
    options: argparse.Namespace,
) -> None:
    random = np.random.default_rng(0)
    sequences = [programs.plain.new_sequence(10**6) for _ in range(count)]
    for sequence in sequences:
        ids = random.integers(0, programs.plain.vocabulary_size, options.depth).astype(np.int32)
        programs.plain.step([(sequence, ids)], "none")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(options.repeats + 2):
        for name, (program, adapters) in runs.items():
            for n, sequence in enumerate(sequences):
                sequence.adapters = adapters[n % len(adapters)]
            for again in (False, True):  # the first step of a set plans it
                began = time.perf_counter()
                program.step([(each, np.asarray([1], np.int32)) for each in sequences], "last")
                seconds = time.perf_counter() - began
                for sequence in sequences:
                    sequence.truncate(options.depth)
                if again and repeat >= 2:  # the first ones touch new memory
                    times[name].append(seconds)
    plain = times["(plain program)"]
    for name, each in times.items():
        ratios = min(each) / min(plain), median(each) / median(plain)
        figures = f"{min(each) * 1e3:.2f} | {median(each) * 1e3:.2f} | {ratios[0]:.3f} | {ratios[1]:.3f}"
        print(f"| {count} | {name} | {figures} |", flush=True)
    for sequence in sequences:
        sequence.close()


def first_token(options: argparse.Namespace) -> None:
    """In processes of their own: after a restart caches lie in memory that nobody touched, and what touches it first
    pays for it."""
    folder = Path(tempfile.mkdtemp())
    try:
        for run in ("first run", "after a restart"):
            for name in ("bare", "adapted"):
                process = get_context("spawn").Process(target=first_token_of, args=(options, folder, run, name))
                process.start()
                process.join()
    finally:
        shutil.rmtree(folder)


def first_token_of(options: argparse.Namespace, folder: Path, run: str, name: str) -> None:
    opened = open_engine(options.model, threads=options.threads, prefixes=PageFiles(folder, quota=10**10))
    engine = opened.engine
    assert opened.model is not None
    adapter = engine.adapters.add(packed.Adapter(pairs_of(opened.model, options.rank, 0, bits=16)))
    variant = BASE if name == "bare" else Variant((ScaledAdapter(adapter),))
    random = np.random.default_rng(1)
    ids = random.integers(0, engine.vocabulary_size, PROMPT_TOKENS).tolist()
    engine.score(random.integers(0, 1000, 600).tolist(), 0, variant)  # programs are made
    for n in range(2):
        began = time.perf_counter()
        answer = engine.generate(ids, Sampling(seed=n, max_tokens=1), variant)
        list(answer)
        took, reused = time.perf_counter() - began, answer.stopped.reused_tokens
        print(f"{run}, {name}: first token after {took:.3f} s, {reused} of {PROMPT_TOKENS} tokens reused", flush=True)
    engine.close()


if __name__ == "__main__":
    main()
