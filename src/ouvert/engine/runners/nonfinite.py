"""Where a model's numbers break: the first named value of a forward pass that is not finite."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ouvert.arithmetic import Ops
from ouvert.arithmetic import Recorder as Kept
from ouvert.engine.runners.interface import Wanted
from ouvert.kernels import CacheType
from ouvert.models import Model

# Tokens of a step: what is kept of it, one row a token and layer, stays small.
CHUNK = 128

Locate = Callable[[list[int]], str | None]


def names_of(model: Model) -> list[str]:
    """The residual stream, from the beginning to the end of the layers."""
    return ["embedding", *(f"layers.{n}.out" for n in range(len(model.memories)))]


def first_broken(names: Sequence[str], seen: Callable[[str], np.ndarray]) -> str | None:
    return next((name for name in names if not np.isfinite(seen(name)).all()), None)


def in_native(model: Model, exact: bool, cache: CacheType, threads: int) -> Locate:
    """The search in a model of packed weights: its graph is traced again, with every layer's end kept."""

    def locate(ids: list[int]) -> str | None:
        from ouvert import kernels

        names = names_of(model)
        program = kernels.build(kernels.Tracer(exact=exact, cache=cache), model, threads=threads, watch=names)
        try:
            return located(program, ids, lambda: first_broken(names, program.seen))
        finally:
            program.close()

    return locate


def in_numpy(model: Model, ops: Ops) -> Locate:
    """The search in a model whose weights `ops` placed."""

    def locate(ids: list[int]) -> str | None:
        names = names_of(model)
        kept = Kept(*names)

        class Steps:
            def new_sequence(self, capacity: int) -> Any:
                return ops.new_cache(model.memories)

            def step(self, work: Sequence[tuple[Any, np.ndarray]], wanted: Wanted) -> np.ndarray:
                logits: np.ndarray = model.forward(ops.begin(list(work), wanted), ops, kept)
                return logits

        with np.errstate(all="ignore"):  # that some numbers are not finite is known: NumPy need not warn of each
            return located(Steps(), ids, lambda: first_broken(names, kept.seen.__getitem__))

    return locate


def located(steps: Any, ids: list[int], broken: Callable[[], str | None]) -> str | None:
    """Read `ids` until a step breaks; the value's name, or "logits" if only they do, or None if nothing does."""
    sequence = steps.new_sequence(len(ids))
    try:
        for start in range(0, len(ids), CHUNK):
            logits = steps.step([(sequence, np.asarray(ids[start : start + CHUNK], np.int32))], "last")
            if name := broken():
                return name
            if not np.isfinite(logits).all():
                return "logits"
    finally:
        sequence.close()
    return None
