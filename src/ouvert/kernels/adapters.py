"""Adapters of sequences: what a native program adds to products of weights."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import ouvert.kernels._native as _native
from ouvert.arithmetic import LowRank, WeightShape
from ouvert.kernels.packing import aligned_bytes, pack, packed_bytes


class Pair(NamedTuple):
    """A LowRank, its matrices packed."""

    a: Any
    b: Any
    shape: tuple[int, int]
    experts: tuple[int, ...] | None
    scale: float


class Adapters:
    """Additions to weights, by their names, for `Sequence.adapters`. Any number of sequences may have the same.

    y += (scale · x aᵀ) bᵀ, in float32 and in one order of summing, with x as it is before it is rounded. Only programs
    with room for these names can step such a sequence: `Programs.sibling(adapted=...)`. The matrices are copied; what
    16 bits hold exactly takes 16 bits. Making one raises ValueError for matrices that are not float32.
    """

    def __init__(self, pairs: Mapping[str, LowRank]) -> None:
        self._pairs = {
            name: Pair(packed(name, pair.a), packed(name, pair.b), pair.shape, pair.experts, pair.scale)
            for name, pair in pairs.items()
        }
        self.native = self._made()

    @property
    def names(self) -> frozenset[str]:
        """The weights that it adds to. Raises nothing."""
        return frozenset(self._pairs)

    def scaled(self, factor: float) -> "Adapters":
        """The same additions times a factor; it shares the matrices. Raises nothing."""
        other = Adapters({})
        other._pairs = {name: pair._replace(scale=pair.scale * factor) for name, pair in self._pairs.items()}
        other.native = other._made()
        return other

    def check(self, adaptable: Mapping[str, WeightShape]) -> None:
        """Raises ValueError, by name, if there is no such weight, or one of another shape."""
        for name, pair in self._pairs.items():
            weight = adaptable.get(name)
            if weight is None:
                raise ValueError(
                    f"adapting {name}: this program has no room for it. Take the sibling that has: "
                    "Programs.sibling(adapted=...), with names of models.adaptable."
                )
            if not weight.takes(pair.shape, pair.experts):
                of = "" if pair.experts is None else f" for the experts {pair.experts}"
                raise ValueError(
                    f"adapting {name}: the addition is {pair.shape}{of}, expected {tuple(weight)} (out, in, experts). "
                    "Is the adapter of another model?"
                )

    def _made(self) -> Any:
        native = _native.Adapter()
        for name, pair in self._pairs.items():
            experts = pair.experts or ()
            nth = np.full(max(experts, default=-1) + 1, -1)  # by expert: which of the matrices
            nth[list(experts)] = range(len(experts))
            native.add(name, pair.a, pair.b, pair.scale, nth.tolist())
        return native


def packed(name: str, matrices: np.ndarray) -> Any:
    """(…, rows, columns) as products read it: in 16 bits where those hold every number."""
    if matrices.dtype != np.float32:
        raise ValueError(f"adapting {name}: a matrix is {matrices.dtype}, expected float32.")
    *experts, rows, columns = matrices.shape
    count = experts[0] if experts else 1
    layout = narrowest(matrices)
    size = packed_bytes(layout, rows, columns)
    data = aligned_bytes(count * size)
    for n, one in enumerate(matrices.reshape(count, rows, columns)):
        raw = np.ascontiguousarray(one).reshape(-1).view(np.uint8)
        pack("F32", raw, rows, columns, layout=layout, out=data[n * size : (n + 1) * size])
    return _native.Matrix(layout, rows, columns, data, count)


def narrowest(numbers: np.ndarray) -> str:
    """The layout that holds these float32 numbers exactly in the fewest bytes. Raises nothing."""
    contiguous = np.ascontiguousarray(numbers)
    if not (contiguous.view(np.uint32) & 0xFFFF).any():
        return "BF16"
    with np.errstate(over="ignore"):
        halves = contiguous.astype(np.float16).astype(np.float32)
    return "F16" if np.array_equal(halves.view(np.uint32), contiguous.view(np.uint32)) else "F32"
