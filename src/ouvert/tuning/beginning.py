"""What a run begins with: which weights are adapted, with which rank, and the numbers that they begin with."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ouvert.arithmetic import Experts, LowRank
from ouvert.kernels import Packed
from ouvert.models import Model, adaptable
from ouvert.packed import Adapter
from ouvert.tuning.error import TuningError
from ouvert.tuning.opening import Base
from ouvert.tuning.pack import bins_of
from ouvert.tuning.recipe import AdapterShape

Array = np.ndarray[Any, np.dtype[Any]]

PASS_TOKENS = 512  # of a step that counts what is chosen


@dataclass(frozen=True, slots=True)
class TrainedWeight:
    """A line of the table of all that is trained: the weight's name and shape (out, in), the rank of what is added, how
    many numbers that has, and which of its experts are adapted (None: it has none)."""

    name: str
    shape: tuple[int, int]
    rank: int
    numbers: int
    experts: tuple[int, ...] | None


def table_of(adapter: Adapter) -> tuple[TrainedWeight, ...]:
    """Every weight that an adapter adds to, in the order of the layers. Raises nothing."""
    return tuple(
        TrainedWeight(name, pair.shape, pair.rank, pair.a.size + pair.b.size, pair.experts)
        for name, pair in adapter.pairs.items()
    )


def begin_adapter(base: Base, shape: AdapterShape, seed: int, sequences: Sequence[Array]) -> Adapter:
    """`new_adapter` for this base, with the busiest experts of these sequences of ids where the recipe asks for a
    share: one forward pass over them. Raises what `new_adapter` raises."""
    counts = routed(base, sequences) if shape.experts.startswith("busiest") else None
    return new_adapter(base.model, shape, seed, counts)


def routed(base: Base, sequences: Sequence[Array]) -> dict[int, Array]:
    """By layer that has experts: how many tokens of these sequences chose each, int64 (experts,). Raises what a step
    raises."""
    holding = {
        n: layer.experts.gate.experts
        for n, layer in enumerate(base.model.parameters.layers)
        if isinstance(getattr(layer, "experts", None), Experts)
    }
    counts = {n: np.zeros(experts, np.int64) for n, experts in holding.items()}
    names = {n: f"layers.{n}.experts.chosen" for n in holding}
    program = base.programs.sibling(names.values())
    for one in bins_of([len(ids) for ids in sequences], PASS_TOKENS) if holding else ():
        work = [(program.new_sequence(len(sequences[n])), sequences[n]) for n in one.members]
        try:
            program.step(work, "none")
            for n, name in names.items():
                counts[n] += np.bincount(program.seen(name).ravel(), minlength=holding[n])
        finally:
            for sequence, _ in work:
                sequence.close()
    return counts


def new_adapter(model: Model, shape: AdapterShape, seed: int, routed: Mapping[int, Array] | None = None) -> Adapter:
    """The adapter that the recipe asks for, as it is before it has learnt anything: it adds nothing.

    a is uniform within ±1/√in and b zero, as PEFT begins (Kaiming-uniform with a = √5). The numbers of a weight follow
    from the seed and its name alone. `routed`: by layer, how many tokens chose each expert ((experts,), `routed`),
    of which `experts = "busiest 0.25"` takes the busiest.

    Raises TuningError where `experts` cannot be honoured: a share without `routed`, or a number that there is not.
    """
    layers = len(model.parameters.layers)
    holds_experts = expert_weights(model)
    pairs = {}
    for name, weight in adaptable(model).items():
        layer = int(name.split(".")[1])
        if shape.layers == "upper" and layer < layers // 2:
            continue
        experts, rank = None, shape.rank
        if id(weight) in holds_experts:
            experts = chosen_experts(shape.experts, weight.experts, None if routed is None else routed[layer])
            rank = shape.expert_rank
            if not experts:
                continue
        pairs[name] = first_pair(name, weight, rank, shape, experts, seed)
    if not pairs:
        raise TuningError("beginning an adapter: it would add to no weight; expected experts or other weights. "
                          "Choose other layers or experts: docs/formats/recipe.md.")  # fmt: skip
    return Adapter(pairs)


def first_pair(
    name: str, weight: Packed, rank: int, shape: AdapterShape, experts: tuple[int, ...] | None, seed: int
) -> LowRank:
    """The pair of one weight at the beginning."""
    rank = min(rank, weight.rows, weight.columns)
    each = () if experts is None else (len(experts),)
    bound = weight.columns**-0.5
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    a = random.uniform(-bound, bound, (*each, rank, weight.columns)).astype(np.float32)
    scale = shape.alpha / (rank**0.5 if shape.rank_stabilised else rank)
    return LowRank(a, np.zeros((*each, weight.rows, rank), np.float32), scale, experts)


def expert_weights(model: Model) -> set[int]:
    """The identities of the weights that hold experts, of which a router chooses."""
    layers = [getattr(layer, "experts", None) for layer in model.parameters.layers]
    return {id(weight) for each in layers if isinstance(each, Experts) for weight in (each.gate, each.up, each.down)}


def chosen_experts(asked: str, count: int, routed: Array | None) -> tuple[int, ...]:
    """Which of `count` experts are adapted: "all", "none", numbers, or a share of the busiest of those that somebody
    chose. Raises TuningError."""
    if asked in ("all", "none"):
        return tuple(range(count)) if asked == "all" else ()
    word, _, share = asked.partition(" ")
    if word == "busiest":
        if routed is None:
            raise TuningError(
                f"choosing experts: {asked!r} without how often each was chosen, expected one pass over the data. "
                "Count first: tuning.begin_adapter."
            )
        most = max(1, round(float(share) * count))
        order = np.argsort(-routed, kind="stable")[:most]
        return tuple(sorted(int(e) for e in order if routed[e]))
    numbers = tuple(sorted({int(each) for each in asked.split()}))
    if numbers and numbers[-1] >= count:
        raise TuningError(
            f"choosing experts: {asked!r}, and there are {count} in each layer, expected numbers from 0 to "
            f"{count - 1}. Choose others: docs/formats/recipe.md."
        )
    return numbers
