"""Times Ouvert through its engine's runner. Started by side_by_side.py as

    time_ouvert.py MODEL.gguf THREADS CONTEXT

Reads one JSON request a line, answers one JSON object a line. Packed weights lie beside the model's store, as in use.
Ready is when the check of the weights, which takes some seconds behind a first answer, is over.
The request "stretch" makes the past as long as "depth" without computing it: what keys and values hold does not change
how long attention over them takes. Here they are zeros, in memory of their own.
"""

import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ouvert.assistant import open_installed, pack_installed
from ouvert.engine.request import expanded_tokens
from ouvert.store import Store

MADV_POPULATE_WRITE = 23  # Linux 5.14


def give_memory_to_everything() -> None:
    """Otherwise all of a past that nobody wrote would be one page of zeros, which is read from the nearest cache."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in Path("/proc/self/maps").read_text().splitlines():
        where, access, _, _, file, *name = line.split()
        if access == "rw-p" and file == "0" and not name:
            start, stop = (int(end, 16) for end in where.split("-"))
            if madvise(start, stop - start, MADV_POPULATE_WRITE):
                raise SystemExit("time_ouvert: this system cannot give memory to a past that was not computed")


def main() -> None:
    path, threads, context = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store = Store(Path(__file__).resolve().parents[2] / "build" / "store")
    installed = store.resolve(str(path))
    pack_installed(store, installed)
    began = time.perf_counter()
    opened = open_installed(store, installed, threads=threads)
    runner = opened.engine._runner.program
    load_seconds = time.perf_counter() - began
    opened.engine.check_weights()
    timed = Timed(runner, context)
    system = f"{opened.instruction_set}, cache {opened.cache_type}"
    print(json.dumps({"ready": True, "load_seconds": load_seconds, "system": system}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"seconds": timed.seconds(json.loads(line))}), flush=True)


class Timed:
    """One sequence, and the seconds that what is asked of it takes."""

    def __init__(self, runner: Any, context: int) -> None:
        self.runner, self.sequence = runner, runner.new_sequence(context)

    def seconds(self, request: dict[str, Any]) -> float:
        if request["do"] == "decode" and self.sequence.length != request["depth"]:
            self.fill(request["depth"])
        if self.runner.expands and request["do"] == "decode":  # the prompt of a request before may have been longer
            self.sequence.expanded = expanded_tokens(request["depth"], request["depth"])
        began = time.perf_counter()
        if request["do"] == "stretch":
            self.stretch(request["depth"])
        elif request["do"] == "prefill":
            self.fill(request["tokens"])
        else:
            for i in range(request["tokens"]):
                self.runner.step([(self.sequence, self.ids(request["depth"] + i, 1))], "last")
        seconds = time.perf_counter() - began
        self.sequence.truncate(request.get("depth", self.sequence.length))
        return seconds

    def ids(self, start: int, count: int) -> np.ndarray:
        return ((7919 * np.arange(start, start + count) + 13) % (self.runner.vocabulary_size - 300)).astype(np.int32)

    def fill(self, count: int) -> None:
        self.sequence.truncate(0)
        if self.runner.expands:
            self.sequence.expanded = expanded_tokens(count, count)
        if count:
            self.runner.step([(self.sequence, self.ids(0, count))], "last")

    def stretch(self, count: int) -> None:
        self.sequence.truncate(0)
        for start in range(0, count, 512):
            self.runner.step_without_work([(self.sequence, self.ids(start, min(512, count - start)))], "none")
        give_memory_to_everything()


if __name__ == "__main__":
    main()
