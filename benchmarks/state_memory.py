"""What a long sequence of a state space model takes: memory and seconds, by its length.

    python benchmarks/state_memory.py MODEL.gguf --tokens 100000

The sequence is read as a prompt, 512 tokens a step, then some more are generated one by one. Bytes are those that its
cache holds, and the process's resident memory, in which the mapped weights count as far as they were read.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from ouvert.assistant import open_installed, pack_installed
from ouvert.store import Store

STEP = 512
LINES = 10
GENERATED = 32


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def read_prompt(program: Any, sequence: Any, tokens: int) -> None:
    """Read so many tokens, with a line printed from time to time."""
    shown, began = 0, time.perf_counter()
    every = max(STEP, tokens // LINES)
    while sequence.length < tokens:
        ids = (7919 * np.arange(sequence.length, sequence.length + STEP) + 13) % 30_000
        program.step([(sequence, ids.astype(np.int32))], "last")
        if sequence.length - shown >= every or sequence.length >= tokens:
            rate = (sequence.length - shown) / (time.perf_counter() - began)
            held, resident = program.cache_bytes_in_use / 1e6, resident_bytes() / 1e6
            print(f"{sequence.length:6}  {held:8.1f}  {resident:11.1f}  {rate:.0f}", flush=True)
            shown, began = sequence.length, time.perf_counter()


def generate(program: Any, sequence: Any) -> None:
    began = time.perf_counter()
    for n in range(GENERATED):
        program.step([(sequence, np.array([n], np.int32))], "last")
    print(f"{GENERATED} tokens generated after them: {GENERATED / (time.perf_counter() - began):.1f} tokens/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    store = Store(Path(__file__).resolve().parents[1] / "build" / "store")
    installed = store.resolve(str(arguments.model))
    pack_installed(store, installed)
    opened = open_installed(store, installed, threads=arguments.threads)
    program = opened.engine._runner.program
    sequence = program.new_sequence(arguments.tokens + STEP + GENERATED)
    print("tokens  cache MB  resident MB  tokens/s since the line before")
    read_prompt(program, sequence, arguments.tokens)
    generate(program, sequence)


if __name__ == "__main__":
    main()
