"""What is left of an adapter once it is merged into its base's weights and these are rounded again.

    .venv-references/bin/python benchmarks/merging.py MODEL.gguf examples/tickets.jsonl [--rates 1e-3 2e-4]

An adapter of rank 8 is trained for 40 steps of 4 examples, through the very weights that are served. Then the model is
written merged, in what `ouvert adapter export` offers and in grids of four bits that it refuses, read again, and asked
for the loss on held-out examples and on a text that has nothing to do with them. *Kept* is the share of the improvement
that is left. "Its own scales" rounds onto the very grid that the base lies on.
"""

import argparse
import json
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import gguf
import numpy as np

from ouvert.packed import Adapter, open_model, plan_merge, write_merge
from ouvert.packed.adapters.merging import Merge, add, metadata_of
from ouvert.tuning import Base, GradientLearner, Recipe, new_adapter, open_base, read_data
from ouvert.tuning.methods import Supervised
from ouvert.tuning.optimiser import Optimiser
from ouvert.weights import GgufWriter, Tensor

STEPS, BATCH, RANK, THREADS = 40, 4, 8, 2
NEUTRAL = Path(__file__).parents[1] / "src" / "ouvert" / "evaluation" / "suites" / "reading" / "en.toml"
Encode = Callable[[np.ndarray, Tensor], np.ndarray]


def recipe_of(data: Path, rate: float) -> Recipe:
    return Recipe.of(
        {
            "data": {"train": str(data), "held_out": 0.1},
            "adapter": {"rank": RANK, "alpha": 2 * RANK},
            "optimise": {"rate": rate, "batch": BATCH, "steps": STEPS, "schedule": "constant"},
            "safety": {"mix": 0.0},
        }
    )


def trained(base: Base, data: Path, rate: float) -> tuple[Adapter, list[np.ndarray], list[np.ndarray]]:
    """The adapter, and the held-out examples: ids, and what of them counts."""
    recipe = recipe_of(data, rate)
    dataset = read_data(data, recipe, base.chat_format, base.tokenizer)
    learner = GradientLearner(base, new_adapter(base.model, recipe.adapter, recipe.seed))
    optimiser, way = Optimiser(learner.parameters, recipe.optimise, STEPS), Supervised()
    order = [place for epoch in range(3) for place in dataset.order(recipe.seed, epoch)]
    for step in range(STEPS):
        optimiser.begin()
        items = [dataset.train[place] for place in order[step * BATCH : (step + 1) * BATCH]]
        loss = 0.0
        for term in way.terms(items, learner, step):
            loss += learner.learn(term.sequences, term.loss, wanted=term.wanted).value
        optimiser.step(step)
        if step % 10 == 9:
            print(f"  step {step + 1}: loss {loss:.3f}", flush=True)
    adapter = learner.adapter
    learner.close()
    return adapter, [each.ids for each in dataset.held_out], [each.trained for each in dataset.held_out]


def losses(base: Base, adapter: Adapter, adapted: bool, held: list, counted: list) -> tuple[float, float]:
    """Per token: of the held-out examples, and of a neutral text."""
    learner = GradientLearner(base, adapter)
    found = learner.log_probabilities(held, adapted=adapted)
    task = -sum(float(weights @ each) for weights, each in zip(counted, found, strict=True)) / sum(map(np.sum, counted))
    pages = tomllib.loads(NEUTRAL.read_text(encoding="utf-8"))
    ids = np.array(base.tokenizer.encode("\n\n".join(page["text"] for page in pages.values()))[:800], np.int32)
    [text] = learner.log_probabilities([ids], adapted=adapted)
    learner.close()
    return float(task), -float(text.sum()) / (len(ids) - 1)


def four_bits(kind: str) -> Encode:
    """A grid of four bits with fresh scales, as gguf-py makes it."""
    return lambda values, _: gguf.quants.quantize(values, gguf.GGMLQuantizationType[kind])


class OwnScales:
    """The base's Q4_1 blocks with their scales and minima: only codes may move. `moved` and `of` count them."""

    def __init__(self) -> None:
        self.moved = self.of = 0

    def __call__(self, values: np.ndarray, base: Tensor) -> np.ndarray:
        blocks = np.array(base.data.reshape(-1, 20))
        scale, least = (blocks[:, at : at + 2].copy().view("<f2").astype(np.float32) for at in (0, 2))
        numbers = values.reshape(-1, 32)
        codes = np.divide(numbers - least, scale, out=np.zeros_like(numbers), where=scale != 0)
        codes = np.clip(np.rint(codes), 0, 15).astype(np.uint8)
        self.moved += int((codes != np.hstack([blocks[:, 4:] & 15, blocks[:, 4:] >> 4])).sum())
        self.of += codes.size
        blocks[:, 4:] = codes[:, :16] | codes[:, 16:] << 4
        return blocks


def write_rounded(plan: Merge, path: Path, kind: str, encode: Encode, adapted: bool) -> None:
    """The merged model with what the adapter changes in `kind`, or without the adapter: the base, rounded again. What
    the base has in more bits than four stays as it is."""
    chosen = {
        name: kind if not each.copied and each.stored.encoding in ("Q4_1", kind) else each.stored.encoding
        for name, each in plan.tensors.items()
    }
    declared = {name: (chosen[name], each.stored.shape) for name, each in plan.tensors.items()}
    with GgufWriter(path, declared, metadata_of(plan)) as writer:
        for name, each in plan.tensors.items():
            if each.copied or chosen[name] != kind:
                writer.write(name, each.stored.data)
                continue
            values = np.concatenate([piece.values for piece in each.stored.pieces()])
            for term in each.terms[None] if adapted else []:
                add(term, 0, values)
            writer.write(name, np.ascontiguousarray(encode(values, each.stored.part)).reshape(-1).view(np.uint8))


def merges(plan_of: Callable[[str], Merge], folder: Path) -> Iterator[tuple[str, Path, Path | None]]:
    """(what, the merged file, the base rounded so and no more)."""
    for encoding in ("q8_0", "f16", "bf16"):
        write_merge(plan_of(encoding), path := folder / f"{encoding}.gguf", {})
        yield encoding, path, None
    grids: dict[str, tuple[str, Encode]] = {
        "Q4_1, its own scales": ("Q4_1", own_scales := OwnScales()),
        "Q4_1, fresh scales": ("Q4_1", four_bits("Q4_1")),
        "Q4_0": ("Q4_0", four_bits("Q4_0")),
        "MXFP4": ("MXFP4", four_bits("MXFP4")),
    }
    for n, (name, (kind, encode)) in enumerate(grids.items()):
        for adapted in (False, True):
            write_rounded(plan_of("f16"), folder / f"{n}-{adapted}.gguf", kind, encode, adapted)
        if encode is own_scales:
            print(f"  codes that moved onto its own scales: {own_scales.moved} of {own_scales.of // 2}")
        yield name, folder / f"{n}-True.gguf", folder / f"{n}-False.gguf"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-4])
    args = parser.parse_args()
    for rate in args.rates:
        print(f"rate {rate:g}", flush=True)
        base = open_base(args.model, threads=THREADS)
        adapter, held, counted = trained(base, args.data, rate)
        before = losses(base, adapter, False, held, counted)
        learnt = losses(base, adapter, True, held, counted)
        base.close()
        print(f"  {'':24}{'task':>8}{'kept':>8}{'text':>8}{'text, base alone':>18}")
        print(f"  {'base':24}{before[0]:8.3f}{'':8}{before[1]:8.3f}")
        print(f"  {'adapter, unmerged':24}{learnt[0]:8.3f}{1:8.1%}{learnt[1]:8.3f}", flush=True)
        rows = []
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, open_model(args.model) as files:
            for name, path, rounded in merges(partial(plan_merge, files, adapter), Path(folder)):
                merged = open_base(path, threads=THREADS)
                task, text = losses(merged, adapter, False, held, counted)
                merged.close()
                alone = ""
                if rounded is not None:
                    other = open_base(rounded, threads=THREADS)
                    alone = f"{losses(other, adapter, False, held, counted)[1]:18.3f}"
                    other.close()
                kept = (before[0] - task) / (before[0] - learnt[0])
                print(f"  {name:24}{task:8.3f}{kept:8.1%}{text:8.3f}{alone}", flush=True)
                rows.append({"merged": name, "task": task, "kept": kept, "text": text})
        print(json.dumps({"rate": rate, "base": before, "adapter": learnt, "rows": rows}))


if __name__ == "__main__":
    main()
