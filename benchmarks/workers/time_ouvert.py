"""Times Ouvert through its engine's runner. Started by side_by_side.py as

    time_ouvert.py MODEL.gguf THREADS CONTEXT

Reads one JSON request a line, answers one JSON object a line. Packed weights lie beside the model's store, as in use.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from ouvert.assistant import open_installed, pack_installed
from ouvert.store import Store


def main() -> None:
    path, threads, context = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store = Store(Path(__file__).resolve().parents[2] / "build" / "store")
    installed = store.resolve(str(path))
    pack_installed(store, installed)
    began = time.perf_counter()
    opened = open_installed(store, installed, threads=threads)
    runner = opened.engine._runner
    assert runner is not None
    sequence = runner.new_sequence(context)
    system = f"{opened.instruction_set}, cache {opened.cache_type}"
    print(json.dumps({"ready": True, "load_seconds": time.perf_counter() - began, "system": system}), flush=True)

    def ids(start: int, count: int) -> np.ndarray:
        return ((7919 * np.arange(start, start + count) + 13) % (runner.vocabulary_size - 300)).astype(np.int32)

    def fill(count: int) -> None:
        sequence.truncate(0)
        if count:
            runner.step([(sequence, ids(0, count))], "last")

    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "prefill":
            began = time.perf_counter()
            fill(request["tokens"])
        else:
            if sequence.length != request["depth"]:
                fill(request["depth"])
            began = time.perf_counter()
            for i in range(request["tokens"]):
                runner.step([(sequence, ids(request["depth"] + i, 1))], "last")
        seconds = time.perf_counter() - began
        sequence.truncate(request.get("depth", sequence.length))
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
