"""Parameters of a checkpoint become what programs compute with, in memory."""

from typing import Any, Protocol

import numpy as np

from ouvert.kernels.linear import Packed
from ouvert.kernels.packing import LAYOUTS, aligned_bytes, pack, packed_bytes

Array = np.ndarray[Any, np.dtype[Any]]
MATRICES = frozenset({"embedding", "linear", "experts"})


class Encoded(Protocol):
    """A tensor as its file encodes it: weights.Tensor."""

    @property
    def encoding(self) -> str: ...
    @property
    def data(self) -> Array: ...


class Placeable(Protocol):
    """A parameter on its way in: models.Parameter."""

    @property
    def kind(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def encoded(self) -> Encoded: ...
    def expert(self, expert: int) -> Encoded: ...
    def decode(self) -> Array: ...
    def decode_expert(self, expert: int) -> Array: ...


def place(parameter: Placeable, threads: int = 1) -> Packed | Array:
    """Matrices packed in the layout of their encoding (F32 where it has none), everything else as float32."""
    if parameter.kind not in MATRICES:
        return np.ascontiguousarray(parameter.decode(), np.float32)
    if parameter.kind != "experts":
        rows, columns = parameter.shape
        encoded = parameter.encoded()
        if encoded.encoding in LAYOUTS:
            packed, _ = pack(encoded.encoding, encoded.data, rows, columns, threads=threads)
            return Packed(LAYOUTS[encoded.encoding], rows, columns, packed)
        packed, _ = pack("F32", as_bytes(parameter.decode()), rows, columns, threads=threads)
        return Packed("F32", rows, columns, packed)
    experts, rows, columns = parameter.shape
    encoding = parameter.expert(0).encoding
    layout = LAYOUTS.get(encoding, "F32")
    size = packed_bytes(layout, rows, columns)
    whole = aligned_bytes(experts * size)
    for e in range(experts):
        out = whole[e * size : (e + 1) * size]
        if encoding in LAYOUTS:
            pack(encoding, parameter.expert(e).data, rows, columns, layout=layout, out=out, threads=threads)
        else:
            pack("F32", as_bytes(parameter.decode_expert(e)), rows, columns, layout=layout, out=out, threads=threads)
    return Packed(layout, rows, columns, whole, experts)


def as_bytes(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8)
