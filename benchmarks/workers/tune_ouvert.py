"""Training steps of Ouvert: tokens a second and peak memory, as one JSON line.

    python tune_ouvert.py MODEL --threads 2 --tokens 512 --examples 16 --steps 2 --together 4 --experts "busiest 0.25"

MODEL is a name of the store, or a file. Half of the tokens are trained, with pairs of rank 16 (of experts 8). One step
warms up and is not counted; the optimiser is. Ids are random: neither time nor memory depends on them.
"""

import argparse
import json
import resource
import time
from functools import partial
from pathlib import Path

import numpy as np

from ouvert import packed, tuning
from ouvert.store import Store, default_home
from ouvert.tuning.optimiser import Optimiser
from ouvert.tuning.recipe import AdapterShape, Optimise

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    for name in ("threads", "tokens", "examples", "steps", "together"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--experts", default="busiest 0.25")
    args = parser.parse_args()
    store = Store(ROOT / "build" / "store" if "/" in args.model else default_home())
    installed = store.resolve(args.model)
    digest = store.weights_digest(installed)
    file = packed.PackedFile(place=partial(store.packed_path, digest), source_digest=digest)
    base = tuning.open_base(installed.path, threads=args.threads, packed=file)
    random = np.random.default_rng(0)
    size = (args.examples, args.tokens)
    ids = [*random.integers(0, base.model.config.vocab_size, size, dtype=np.int32)]
    adapter = tuning.begin_adapter(base, AdapterShape(experts=args.experts), 20, ids)
    learner = tuning.GradientLearner(base, adapter)
    optimiser = Optimiser(learner.parameters, Optimise(), args.steps + 1)
    trained = np.arange(args.tokens) % 2 == 1

    def loss(found: list[np.ndarray]) -> tuning.Loss:
        gradients = [np.float32(-2 / (args.examples * args.tokens)) * trained.astype(np.float32) for _ in found]
        return tuning.Loss(sum(float(each @ one) for each, one in zip(found, gradients, strict=True)), gradients)

    taken = []
    for step in range(args.steps + 1):
        began = time.perf_counter()
        optimiser.begin()
        for start in range(0, args.examples, args.together):
            some = ids[start : start + args.together]
            learner.learn(some, loss, wanted=[trained] * len(some))
        optimiser.step(step)
        taken.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told = {"tokens_a_second": args.examples * args.tokens / min(taken[1:]), "peak_bytes": peak, "seconds": taken}
    print(json.dumps(told | {"trained": adapter.parameters}))


if __name__ == "__main__":
    main()
