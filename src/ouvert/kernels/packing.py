"""Packing: weights as files encode them become the layouts that the native products read.

The layouts are described in docs/formats/packed.md. A packed matrix is one flat array of bytes whose size depends on
the layout and the shape alone; consecutive ranges of rows (multiples of `ROW_GROUP`, but for the last) pack into
consecutive bytes, so a large tensor can be packed piece by piece.
"""

import math
from dataclasses import dataclass

import numpy as np

import ouvert.kernels._native as _native

ROW_GROUP = 16  # rows that are interleaved
ALIGNMENT = 64  # where packed bytes should begin

# The layout of each encoding. Every pair but Q2_K's keeps the numbers exactly.
LAYOUTS = {
    "F32": "F32",
    "F16": "F16",
    "BF16": "BF16",
    "Q4_0": "Q4_0",
    "Q4_1": "Q4_1",
    "Q5_0": "Q5_1",  # the same codes; the minimum is -16 × the scale
    "Q5_1": "Q5_1",
    "Q8_0": "Q8_0",
    "Q2_K": "Q8_0",  # rounded: its values are 0.1 to 0.5 % off, as `pack` reports
    "Q3_K": "Q6_K",  # the same scales; codes in a wider range
    "Q4_K": "Q4_K",
    "Q5_K": "Q5_K",
    "Q6_K": "Q6_K",
    "IQ4_NL": "IQ4_NL",
    "MXFP4": "MXFP4",
}

# Layouts that floats can be rounded to, whatever their encoding.
FLOATS_ROUND_TO = ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q4_K", "Q4_1", "MXINT8")


@dataclass(frozen=True, slots=True)
class Loss:
    """What packing changed: sums over the weights, so that losses of pieces and tensors can be added."""

    squared_error: float = 0.0
    squares: float = 0.0

    def __add__(self, other: "Loss") -> "Loss":
        return Loss(self.squared_error + other.squared_error, self.squares + other.squares)

    @property
    def relative(self) -> float:
        """Root mean square of the error, as a share of the weights' own; 0 for exact layouts. Raises nothing."""
        return math.sqrt(self.squared_error / self.squares) if self.squares else 0.0


def packed_bytes(layout: str, rows: int, columns: int) -> int:
    """Size of a packed matrix; rows are padded to whole groups. A multiple of `ALIGNMENT`.

    Raises ValueError for columns that the layout does not take.
    """
    check_columns(layout, columns)
    size: int = _native.packed_bytes(layout, rows, columns)
    return size


def bits_per_weight(layout: str, rows: int, columns: int) -> float:
    return 8 * packed_bytes(layout, rows, columns) / (rows * columns)


def check_columns(layout: str, columns: int) -> None:
    multiple = _native.columns_multiple(layout)
    if columns <= 0 or columns % multiple:
        raise ValueError(
            f"Packing as {layout}: {columns} columns, expected a positive multiple of {multiple}. "
            "Decode this tensor and pack its floats as BF16 or F32 instead."
        )


def aligned_bytes(size: int) -> np.ndarray:
    """A new uint8 array that begins at a multiple of `ALIGNMENT`; contents undefined. Raises nothing."""
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size]


def pack(
    encoding: str,
    data: np.ndarray,
    rows: int,
    columns: int,
    *,
    layout: str | None = None,
    out: np.ndarray | None = None,
    threads: int = 1,
    instruction_set: str | None = None,
) -> tuple[np.ndarray, Loss]:
    """Pack `rows` encoded rows; returns the packed bytes (`out`, if given) and what was lost.

    data    uint8, flat: the encoded rows one after the other
    layout  as LAYOUTS says if left out; floats can also be packed as those of FLOATS_ROUND_TO
    out     uint8, flat, packed_bytes(layout, rows, columns)

    Raises ValueError if a size does not fit, the pair is not offered, or the layout cannot hold a block's scale.
    """
    layout = layout or LAYOUTS.get(encoding)
    if layout is None or encoding not in LAYOUTS or not _native.can_pack(encoding, layout):
        raise ValueError(
            f"Packing {encoding} as {layout}: not offered. Offered are {LAYOUTS}, and floats as "
            f"{', '.join(FLOATS_ROUND_TO)}."
        )
    check_columns(layout, columns)
    block = _native.encoded_block(encoding)
    if columns % block:
        raise ValueError(f"Packing {encoding}: {columns} columns, expected a multiple of its block of {block}.")
    check_flat("data", data, rows * _native.encoded_row_bytes(encoding, columns), encoding, rows, columns)
    size = packed_bytes(layout, rows, columns)
    if out is None:
        out = aligned_bytes(size)
    check_flat("out", out, size, encoding, rows, columns)
    squared_error, squares, refused = _native.pack(
        instruction_set or _native.best_instruction_set(), encoding, layout, data, rows, columns, out, threads
    )
    if refused:
        raise ValueError(
            f"Packing {encoding} as {layout}: {refused} blocks have a value or scale that is not a number or too large "
            "for the layout. The file is damaged, or this tensor is better packed as F32."
        )
    return out, Loss(squared_error, squares)


def unpack(layout: str, packed: np.ndarray, rows: int, columns: int, which: np.ndarray | None = None) -> np.ndarray:
    """Rows of a packed matrix as float32 (rows, columns): all, or those whose numbers `which` lists.

    Raises ValueError for data of another size, and for a row that the matrix does not have.
    """
    check_flat("packed", packed, packed_bytes(layout, rows, columns), layout, rows, columns)
    numbers = np.arange(rows, dtype=np.int32) if which is None else np.ascontiguousarray(which, np.int32)
    if numbers.ndim != 1 or (numbers.size and not 0 <= numbers.min() <= numbers.max() < rows):
        raise ValueError(f"Unpacking: rows {which!r}, expected a list of numbers below {rows}.")
    out = np.empty((len(numbers), columns), np.float32)
    _native.dequantise_rows(layout, rows, columns, packed, numbers, out)
    return out


def check_flat(name: str, array: np.ndarray, size: int, kind: str, rows: int, columns: int) -> None:
    if array.dtype != np.uint8 or array.shape != (size,) or not array.flags.c_contiguous:
        raise ValueError(
            f"Packing: {name} is {array.dtype}{array.shape}, "
            f"expected contiguous uint8({size},) for {kind} of {rows} rows and {columns} columns."
        )
