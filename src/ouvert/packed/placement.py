"""Which parameter is placed how: the rule for weights in memory and in packed files alike."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ouvert import kernels
from ouvert.models import Parameter
from ouvert.packed.precision import MATRICES, STORED, Precision, is_rounded, layouts
from ouvert.weights import CheckpointError, Tensor

if TYPE_CHECKING:
    from ouvert.kernels import Loss, Packed

# Part of a packed file's name: another number whenever a layout changes, so that no old file is taken for a new one.
LAYOUT_VERSION = "rows16-3"

# Source bytes packed at once, about: enough for several threads, little beside any model.
CHUNK_BYTES = 32 << 20

# Of a parameter's root mean square: four bits lose less than a tenth of what weights are; where a half is gone, the
# values lie below the smallest scale, and the model would say something else.
MOST_LOST = 0.5


@dataclass(frozen=True, slots=True)
class Placement:
    """How one parameter is placed: packed in `layout`, or with None as float32 numbers.

    `shape` is the parameter's: of a packed one (rows, columns) or (experts, rows, columns).
    """

    shape: tuple[int, ...]
    layout: str | None

    @property
    def stored_as(self) -> tuple[str, tuple[int, ...]]:
        """The encoding and shape under which a safetensors file declares it.

        Raises ValueError for columns that the layout does not take.
        """
        if self.layout is None:
            return "F32", self.shape
        *experts, rows, columns = self.shape
        return "U8", (math.prod(experts) * kernels.packed_bytes(self.layout, rows, columns),)

    def weight(self, data: np.ndarray) -> "Packed | np.ndarray":
        """What native programs take as this parameter, over its bytes (uint8). Raises ValueError if there are more or
        fewer of them than it takes."""
        if self.layout is None:
            return data.view(np.float32).reshape(self.shape)
        *experts, rows, columns = self.shape
        return kernels.Packed(self.layout, rows, columns, data, math.prod(experts))


def placement_of(parameter: Parameter) -> Placement:
    """Matrices in the layout that keeps their encoding (F32 where it has none), everything else as float32."""
    layout = kernels.LAYOUTS.get(parameter.encoding, "F32") if parameter.kind in MATRICES else None
    return Placement(parameter.shape, layout)


def placements(parameters: Sequence[Parameter], precision: Precision = STORED) -> dict[str, Placement]:
    """By name, in order. Parameters that share another's bytes are not placed twice. Raises nothing."""
    rounded = layouts(parameters, precision)
    plain = {each.name: placement_of(each) for each in parameters if each.same_as is None}
    return {name: replace(each, layout=rounded.get(name, each.layout)) for name, each in plain.items()}


def placed_chunks(
    parameter: Parameter, threads: int, layout: str | None = None
) -> Iterator[tuple[np.ndarray, int, "Loss"]]:
    """(bytes of the placed parameter, source bytes they came from, loss), in order, a few rows of one expert at a time.

    A matrix is rounded to `layout`; left out, it keeps its encoding. Raises CheckpointError for a block that its layout
    cannot hold (docs/formats/packed.md says which), and at the end, where rounding left little of the parameter.
    """
    layout = layout or placement_of(parameter).layout
    if layout is None:
        values = np.ascontiguousarray(parameter.decode(), np.float32)
        yield values.reshape(-1).view(np.uint8), parameter.stored_bytes, kernels.Loss()
        return
    lost = kernels.Loss()
    for rows in encoded_rows(parameter):
        encoding, data = rows.encoding, rows.data
        if encoding not in kernels.LAYOUTS or (layout != kernels.LAYOUTS[encoding] and is_rounded(encoding)):
            encoding, data = "F32", np.ascontiguousarray(rows.decode(), np.float32).reshape(-1).view(np.uint8)
        try:
            packed, loss = kernels.pack(encoding, data, *rows.shape, layout=layout, threads=threads)
        except ValueError as problem:
            raise CheckpointError(
                f"packing {parameter.name}: {problem} If the source is whole, more bits hold it: --precision 16."
            ) from problem
        lost += loss
        read = rows.data.nbytes
        rows.release()
        yield packed, read, loss
    if lost.relative > MOST_LOST:
        raise CheckpointError(
            f"packing {parameter.name}: as {layout} it loses {lost.relative:.0%} of its values (root mean square), "
            f"expected {MOST_LOST:.0%} at most: they are too small for the scales of that layout. Choose --precision "
            "16, or stored."
        )


def encoded_rows(parameter: Parameter) -> Iterator[Tensor]:
    """A matrix, or expert after expert, as tensors (rows, columns) of about CHUNK_BYTES; whole groups of rows."""
    *experts, rows, columns = parameter.shape
    row_bytes = max(1, parameter.stored_bytes // (math.prod(experts) * rows))
    step = max(1, CHUNK_BYTES // (row_bytes * kernels.ROW_GROUP)) * kernels.ROW_GROUP
    for expert in range(math.prod(experts)):
        matrix = replace(parameter.expert(expert), shape=(rows, columns)) if experts else parameter
        for start in range(0, rows, step):
            yield matrix.rows(start, min(rows, start + step))
