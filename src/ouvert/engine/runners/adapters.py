"""The adapters that a model's variants may name: checked against its weights, in the form that its runner takes."""

import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Generic, Protocol, Self, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from ouvert.arithmetic import LowRank, WeightShape
from ouvert.engine.interface import EngineError
from ouvert.engine.variant import Variant
from ouvert.models import Model, adaptable_shapes
from ouvert.packed import Adapter

SCALES_KEPT = 8  # of one adapter, that were last asked for


class Computable(Protocol):
    """An adapter as a runner takes it."""

    @property
    def nbytes(self) -> int:
        """Of its matrices. Raises nothing."""

    def scaled(self, factor: float) -> Self:
        """The same additions times a factor. Raises nothing."""


Made = TypeVar("Made", bound=Computable)


class Held(Generic[Made]):
    """One adapter, for as long as somebody computes with it."""

    def __init__(self, made: Made) -> None:
        self.nbytes = made.nbytes
        self.scaled: Callable[[float], Made] = lru_cache(SCALES_KEPT)(lambda factor: made.scaled(factor))


class RunnerAdapters(Generic[Made]):
    """`interface.EngineAdapters` of a model that is computed in this process. From any thread."""

    def __init__(self, model: Model, make: Callable[[Mapping[str, LowRank]], Made]) -> None:
        """`make` puts an adapter's additions into the form that the runner takes. Raises nothing."""
        self.family, self.shapes = model.family.name, adaptable_shapes(model)
        self._make, self._lock = make, threading.Lock()
        self._known: dict[str, Held[Made]] = {}
        self._alive: WeakValueDictionary[str, Held[Made]] = WeakValueDictionary()  # and those removed that are in use

    @property
    def digests(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._known)

    @property
    def nbytes(self) -> int:
        with self._lock:
            return sum(each.nbytes for each in self._alive.values())

    def add(self, adapter: Adapter) -> str:
        digest = adapter.digest
        if digest not in self.digests:
            for name, pair in adapter.pairs.items():
                check_pair(name, pair, self.shapes, self.family)
            held = Held(self._make(adapter.pairs))
            with self._lock:
                self._alive[digest] = self._known.setdefault(digest, held)
        return digest

    def remove(self, digest: str) -> None:
        with self._lock:
            self._known.pop(digest, None)

    def hold(self, variant: Variant) -> tuple[Held[Made], ...]:
        """Those of a variant: while somebody has the result, `of` finds them. Raises EngineError, by name, for one that
        is not here."""
        with self._lock:
            known = {each.digest: self._known.get(each.digest) for each in variant.adapters}
        found = []
        for digest, held in known.items():
            if held is None:
                raise not_here(digest)
            found.append(held)
        return tuple(found)

    def of(self, variant: Variant) -> tuple[Made, ...]:
        """Those of a variant, in its order. Raises EngineError, by name, for one that is not here and that nobody
        holds."""
        found = []
        for each in variant.adapters:
            with self._lock:
                held = self._alive.get(each.digest)
            if held is None:
                raise not_here(each.digest)
            found.append(held.scaled(each.scale))
        return tuple(found)


def not_here(digest: str) -> EngineError:
    return EngineError(
        f"computing a variant: the adapter {digest} is not in this engine, expected one that was added to it. Add it "
        "first (Engine.adapters), or leave it out."
    )


def check_pair(name: str, pair: LowRank, shapes: Mapping[str, WeightShape], family: str) -> None:
    """Raises EngineError for an addition that this model has no place for."""
    shape = shapes.get(name)
    if shape is None:
        layers = sorted({each.rpartition(".")[2] for each in shapes})
        there = f"of its layers {', '.join(layers)} may carry one" if layers else "none of its weights may carry one"
        raise EngineError(
            f"adding an adapter: it adds to {name!r:.80}, and this model ({family}) has no such weight: {there}. Use "
            "an adapter that was made for this model."
        )
    if not shape.takes(pair.shape, pair.experts):
        of = "" if pair.experts is None else f" for the experts {pair.experts}"
        experts = "" if shape.experts is None else f", for some of its {shape.experts} experts"
        raise EngineError(
            f"adding an adapter: its addition to {name} is {pair.shape}{of}, expected {shape[:2]}{experts}. Use an "
            "adapter that was made for this model."
        )
    if not all(each.dtype == np.float32 and np.isfinite(each).all() for each in (pair.a, pair.b)) or not np.isfinite(
        pair.scale
    ):
        raise EngineError(
            f"adding an adapter: its addition to {name} has numbers that are not float32, or not finite. It is "
            "damaged, or its training failed: make it again."
        )
