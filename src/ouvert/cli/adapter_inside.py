"""What an adapter changes inside its model: observations beside a check, which decide nothing."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ouvert.assistant import Model, Probe, Watched
    from ouvert.evaluation import Observation
    from ouvert.store import Store

PROMPTS = 24  # harmless questions whose first token is watched
REFUSAL = "refus"  # what the name of a direction of refusals has in it


def observations_of(folder: Path, base: "Model", adapted: "Model", store: "Store") -> "Iterator[Observation]":
    """By layer: the size of what is added; of models with experts, the share of these that are others at the first
    token of an answer; the change along a direction of refusals, where the store has one for this model.

    `folder`: with the adapter's files. Raises what `read_peft` raises, and EngineError.
    """
    from ouvert.evaluation import Observation
    from ouvert.inspection import sizes_added
    from ouvert.packed import read_peft

    weights: Any = base.opened.model
    if weights is None:
        return
    for layer, share in sizes_added(read_peft(folder, weights).pairs, weights).items():
        yield Observation(what="delta", where=layer, value=share)
    probes = list(refusal_probes(base, store))
    watch: list[str | Probe] = [*probes, *(["experts"] if has_experts(base) else [])]
    if not watch:
        return
    pairs = [(first_seen(base, each, watch), first_seen(adapted, each, watch)) for each in questions()]
    yield from moved_experts(pairs)
    for probe in probes:
        change = sum(after.probes[probe.name] - before.probes[probe.name] for before, after in pairs) / len(pairs)
        yield Observation(what="refusal_direction", where=f"layers.{probe.layer}", value=change)


def moved_experts(pairs: "Sequence[tuple[Watched, Watched]]") -> "Iterator[Observation]":
    """Of each layer the share of the chosen experts that are others. Raises nothing."""
    from ouvert.evaluation import Observation

    first = pairs[0][0].experts
    if first is None:
        return
    for n, layer in enumerate(first.layers):
        moved = []
        for before, after in pairs:
            if before.experts is not None and after.experts is not None:
                one, other = set(before.experts.chosen[n].tolist()), set(after.experts.chosen[n].tolist())
                moved.append(1 - len(one & other) / len(one))
        yield Observation(what="routing", where=f"layers.{layer}", value=sum(moved) / len(moved))


def first_seen(model: "Model", question: str, watch: "Sequence[str | Probe]") -> "Watched":
    """What is seen where the first token of an answer is chosen: the same place behind the same prompt, with the
    adapter and without."""
    from ouvert.assistant import Watched

    return next(
        event
        for event in model.chat(question, watch=watch, max_tokens=1, temperature=0.0)
        if isinstance(event, Watched)
    )


def questions() -> list[str]:
    """Harmless ones, the same for every adapter. Raises nothing."""
    from ouvert.evaluation import open_suite

    items = open_suite("benign").items("en", PROMPTS, 0)
    return [str(item.ask.messages[0]["content"]) for item in islice(items, PROMPTS)]  # type: ignore[union-attr]


def has_experts(model: "Model") -> bool:
    return any(name.endswith(".experts.chosen") for name in model.engine.shown)


def refusal_probes(model: "Model", store: "Store") -> "Iterator[Probe]":
    """Of every direction of refusals that the store has and that is of this model's shape. Raises nothing."""
    from ouvert.assistant import Probe
    from ouvert.inspection import InspectionError, read_direction
    from ouvert.store import Directions
    from ouvert.weights import CheckpointError

    directions = Directions(store.home)
    for name in directions.names():
        if REFUSAL in name:
            try:
                probe = Probe.of(name, read_direction(directions.path(name), ours=True))
            except (InspectionError, CheckpointError, OSError):
                continue  # `ouvert direction show` says what is wrong with it
            if model.engine.shown.get(probe.tap) == len(probe.vector):  # else it was made for another model
                yield probe
