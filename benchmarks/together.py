"""Tokens a second when several sequences are decoded together, one token each a step.

    python benchmarks/together.py MODEL.gguf [--threads 2] [--repeats 3]

Ouvert's step beside llama.cpp's batch (both with the weights loaded and threads started, taking turns), and each of
Ouvert's rates as a share of the nearer of its two limits, measured in the same repeat: reading all the weights once a
step, and multiplying them for every sequence. With experts the share of reading is of what one token reads, so several
sequences, which choose different experts, read more than it says.
"""

import argparse
import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ouvert.engine import Demand

ROOT = Path(__file__).resolve().parents[1]
LLAMA_PYTHON = ROOT / "build/peers/native/bin/python"
COUNTS = (1, 2, 4, 8, 16, 32)
STEPS, WARMING = 12, 3


def serve_ouvert(path: Path, threads: int) -> None:
    from ouvert import kernels, models, packed, weights

    with weights.open_checkpoint(path) as checkpoint:
        tracer = kernels.Tracer()
        program = kernels.build(tracer, models.load(checkpoint, packed.InMemory()), threads=threads)
    import numpy as np

    def seconds(count: int) -> float:
        sequences = [program.new_sequence(64) for _ in range(count)]
        for step in range(WARMING + STEPS):
            if step == WARMING:
                began = time.perf_counter()
            ids = [
                np.array([(7919 * (n + step) + 13) % (program.vocabulary_size - 300)], np.int32) for n in range(count)
            ]
            program.step(list(zip(sequences, ids, strict=True)), "last")
        took = time.perf_counter() - began
        for sequence in sequences:
            sequence.close()
        return took / STEPS

    answer(seconds)


def serve_llama(path: Path, threads: int) -> None:
    import llama_cpp as api

    quiet = api.llama_log_callback(lambda level, text, data: None)
    api.llama_log_set(quiet, ctypes.c_void_p(0))
    api.llama_backend_init()
    model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
    params = api.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 64 * max(COUNTS), 512, 512, max(COUNTS)
    params.n_threads = params.n_threads_batch = threads
    params.flash_attn_type, params.kv_unified = 1, True
    context = api.llama_init_from_model(model, params)
    vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    batch = api.llama_batch_init(max(COUNTS), 0, 1)

    def seconds(count: int) -> float:
        api.llama_memory_clear(api.llama_get_memory(context), True)
        for step in range(WARMING + STEPS):
            if step == WARMING:
                began = time.perf_counter()
            batch.n_tokens = count
            for n in range(count):
                batch.token[n], batch.pos[n] = (7919 * (n + step) + 13) % (vocabulary - 300), step
                batch.n_seq_id[n], batch.seq_id[n][0], batch.logits[n] = 1, n, 1
            if api.llama_decode(context, batch):
                raise SystemExit(f"llama.cpp did not decode {count} sequences together.")
            api.llama_get_logits_ith(context, count - 1)
        return (time.perf_counter() - began) / STEPS

    answer(seconds)


def answer(seconds: Any) -> None:
    for line in sys.stdin:
        print(json.dumps(seconds(int(line))), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--serve", choices=["ouvert", "llama.cpp"], help=argparse.SUPPRESS)
    return parser.parse_args()


def started(name: str, python: str, options: argparse.Namespace) -> "subprocess.Popen[str]":
    """A worker of this file: it reads numbers of sequences and answers with seconds a step."""
    command = [python, __file__, str(options.model), "--threads", str(options.threads), "--serve", name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(worker: "subprocess.Popen[str]", count: int) -> float:
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write(f"{count}\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def row_of(
    count: int, needs: "Demand", running: "Mapping[str, subprocess.Popen[str]]", options: argparse.Namespace
) -> str:
    """Tokens a second with so many sequences, and the share of what memory or arithmetic allow."""
    from ouvert.kernels import limits

    rates: dict[str, list[float]] = {name: [] for name in running}
    shares = []
    for _ in range(options.repeats):
        read = needs.read_per_token / limits.read_bandwidth(options.threads, 2)
        multiply = count * needs.active / limits.multiply_adds(options.threads, 1)
        taken = {name: ask(worker, count) for name, worker in running.items()}
        shares.append(max(read, multiply) / taken["ouvert"])
        for name, seconds in taken.items():
            rates[name].append(count / seconds)
    ours, theirs = (statistics.median(each) for each in rates.values())
    return f"| {count} | {ours:.1f} | {theirs:.1f} | **{ours / theirs:.2f}** | {statistics.median(shares):.0%} |"


def main() -> None:
    options = arguments()
    if options.serve:
        (serve_ouvert if options.serve == "ouvert" else serve_llama)(options.model, options.threads)
        return
    from ouvert.engine import demand_of_files

    needs = demand_of_files(options.model)
    pythons = {"ouvert": sys.executable, "llama.cpp": str(LLAMA_PYTHON)}
    running = {name: started(name, python, options) for name, python in pythons.items()}
    try:
        for worker in running.values():
            ask(worker, 1)  # weights loaded
        print(
            "| sequences | ouvert | llama.cpp (native) | over llama.cpp | of the nearer limit |\n|---|---|---|---|---|"
        )
        for count in COUNTS:
            print(row_of(count, needs, running, options), flush=True)
    finally:
        for worker in running.values():
            worker.kill()
            worker.wait()


if __name__ == "__main__":
    main()
