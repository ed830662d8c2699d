"""Adapters of sequences: what a native program adds to products of weights."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import ouvert.kernels._native as _native
from ouvert.arithmetic import LowRank, WeightShape, is_mxint8
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
    with room for these names can step such a sequence: `Programs.sibling(adapted=...)`. The matrices are copied, each
    in as few bits as hold its numbers exactly. Making one raises ValueError for matrices that are not float32.
    """

    def __init__(self, pairs: Mapping[str, LowRank]) -> None:
        matrices, self._nbytes = packed(
            {(name, which): getattr(pair, which) for name, pair in pairs.items() for which in "ab"}
        )
        self._pairs = {
            name: Pair(matrices[name, "a"], matrices[name, "b"], pair.shape, pair.experts, pair.scale)
            for name, pair in pairs.items()
        }
        self.native = self._made()

    @property
    def nbytes(self) -> int:
        """Of its matrices, which those share that are made of it by `scaled`. Raises nothing."""
        return self._nbytes

    @property
    def names(self) -> frozenset[str]:
        """The weights that it adds to. Raises nothing."""
        return frozenset(self._pairs)

    def scaled(self, factor: float) -> "Adapters":
        """The same additions times a factor; it shares the matrices. Raises nothing."""
        other = Adapters({})
        other._nbytes = self._nbytes
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


def packed(matrices: Mapping[tuple[str, str], np.ndarray]) -> tuple[dict[tuple[str, str], Any], int]:
    """(the matrices, their bytes). Each (…, rows, columns) as products read it, in as few bits as hold every number
    exactly. All lie side by side in one piece of memory, so that the system can give it large pages: they are read once
    a token, each but for a moment.
    """
    layouts, sizes = {}, {}
    for key, matrix in matrices.items():
        if matrix.dtype != np.float32:
            raise ValueError(f"adapting {key[0]}: a matrix is {matrix.dtype}, expected float32.")
        layouts[key] = narrowest(matrix)
        sizes[key] = math.prod(matrix.shape[:-2]) * packed_bytes(layouts[key], *matrix.shape[-2:])
    whole, done, at = aligned_bytes(sum(sizes.values())), {}, 0
    for key, matrix in matrices.items():
        rows, columns = matrix.shape[-2:]
        count, each = math.prod(matrix.shape[:-2]), packed_bytes(layouts[key], rows, columns)
        data = whole[at : at + sizes[key]]
        for n, one in enumerate(matrix.reshape(count, rows, columns)):
            raw = np.ascontiguousarray(one).reshape(-1).view(np.uint8)
            pack("F32", raw, rows, columns, layout=layouts[key], out=data[n * each : (n + 1) * each])
        done[key] = _native.Matrix(layouts[key], rows, columns, data, count)
        at += sizes[key]
    return done, sum(sizes.values())


def narrowest(numbers: np.ndarray) -> str:
    """The layout that holds these float32 numbers exactly in the fewest bytes. Raises nothing."""
    if is_mxint8(numbers):
        return "MXINT8"
    contiguous = np.ascontiguousarray(numbers)
    if not (contiguous.view(np.uint32) & 0xFFFF).any():
        return "BF16"
    with np.errstate(over="ignore"):
        halves = contiguous.astype(np.float16).astype(np.float32)
    return "F16" if np.array_equal(halves.view(np.uint32), contiguous.view(np.uint32)) else "F32"
