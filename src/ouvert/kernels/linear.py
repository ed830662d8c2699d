"""Single products with packed weights, checked: for tests, audits and benchmarks. A model's step runs them natively.

`x` is float32 (tokens, columns); results are float32 (tokens, rows). The numbers of a token depend on nothing but its
own activations and the weights: not on the instruction set, the other tokens, or the piece.
"""

from dataclasses import dataclass

import numpy as np

import ouvert.kernels._native as _native
from ouvert.kernels.packing import ROW_GROUP, aligned_bytes, packed_bytes

INSTRUCTION_SETS = ("plain", "avx2", "avx512")


def best_instruction_set() -> str:
    """The widest one that this machine and this build both have."""
    best: str = _native.best_instruction_set()
    return best


def available_instruction_sets() -> tuple[str, ...]:
    """The instruction sets of this machine, from the plainest to the widest."""
    return INSTRUCTION_SETS[: INSTRUCTION_SETS.index(best_instruction_set()) + 1]


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed matrix: see packing.pack. With `experts`, so many of them one after the other, each padded by itself.

    `data` is uint8 (bytes,). Raises ValueError for another type or size of it.
    """

    layout: str
    rows: int
    columns: int
    data: np.ndarray
    experts: int = 1

    def __post_init__(self) -> None:
        size = self.experts * packed_bytes(self.layout, self.rows, self.columns)
        if self.data.dtype != np.uint8 or self.data.shape != (size,):
            raise ValueError(
                f"Packed {self.layout} matrix of {self.rows} × {self.columns}: data is {self.data.dtype}"
                f"{self.data.shape}, expected uint8({size},)."
            )


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of the product: rows in whole groups (or to the end), any tokens."""

    row_begin: int
    row_end: int
    token_begin: int
    token_end: int

    def check(self, rows: int, tokens: int) -> None:
        """Raises ValueError unless it lies within that product."""
        fits = 0 <= self.row_begin <= self.row_end <= rows and 0 <= self.token_begin <= self.token_end <= tokens
        whole = self.row_begin % ROW_GROUP == 0 and (self.row_end % ROW_GROUP == 0 or self.row_end == rows)
        if not fits or not whole:
            raise ValueError(
                f"linear: {self}, expected row bounds in multiples of {ROW_GROUP} within {rows} "
                f"and tokens within {tokens}."
            )


@dataclass(frozen=True, slots=True)
class Activations:
    """Activations as whole numbers of 1 or 2 bytes, codes and scales per 32 columns: see linear.h."""

    tokens: int
    columns: int
    data: np.ndarray
    code_bytes: int = 1

    def fields(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """codes int8 or int16 (tokens, blocks, 32), scales float32 (tokens, blocks), half blocks' sums int32 (…, 2)."""
        blocks, kind = self.columns // 32, np.dtype(f"i{self.code_bytes}")
        codes = np.empty((self.tokens, blocks, 32), kind)
        scales = np.empty((self.tokens, blocks), np.float32)
        sums = np.empty((self.tokens, blocks, 2), np.int32)
        start = 0
        for first in range(0, self.tokens, 16):
            width = min(16, self.tokens - first)
            at_scales = 32 * self.code_bytes * width * blocks
            at_sums = at_scales + 4 * width * blocks
            tile = self.data[start : start + at_sums + 8 * width * blocks]
            own = slice(first, first + width)
            codes[own] = tile[:at_scales].view(kind).reshape(blocks, width, 32).swapaxes(0, 1)
            scales[own] = tile[at_scales:at_sums].view(np.float32).reshape(blocks, width).T
            sums[own] = tile[at_sums:].view(np.int32).reshape(blocks, 2, width).transpose(2, 0, 1)
            start += len(tile)
        if self.code_bytes == 2:  # of every four columns 0, 2, 1, 3
            codes = codes.reshape(-1, 2, 2).swapaxes(1, 2).reshape(codes.shape)
        return codes, scales, sums


def quantise(
    x: np.ndarray,
    *,
    from_rows: np.ndarray | None = None,
    instruction_set: str | None = None,
    splits: tuple[int, ...] = (),
) -> Activations:
    """Activations as int8. With from_rows, token t is x[from_rows[t]]. `splits` cuts the work, for tests."""
    check_floats("x", x, (None, None))
    check_columns(x)
    check_rows("from_rows", from_rows, len(x))
    tokens = len(x) if from_rows is None else len(from_rows)
    data = aligned_bytes(_native.activation_bytes(tokens, x.shape[1], 1))
    for begin, end in zip((0, *splits), (*splits, tokens), strict=True):
        _native.quantise(instruction_set or best_instruction_set(), x, from_rows, data, tokens, begin, end)
    return Activations(tokens, x.shape[1], data)


def quantise_wide(x: np.ndarray, *, instruction_set: str | None = None, splits: tuple[int, ...] = ()) -> Activations:
    """Activations in 16 bits. `splits` cuts the work, for tests."""
    check_floats("x", x, (None, None))
    check_columns(x)
    data = aligned_bytes(_native.activation_bytes(len(x), x.shape[1], 2))
    for begin, end in zip((0, *splits), (*splits, len(x)), strict=True):
        _native.quantise_wide(instruction_set or best_instruction_set(), x, data, begin, end)
    return Activations(len(x), x.shape[1], data, code_bytes=2)


def matmul(
    weights: Packed,
    x: Activations | np.ndarray,
    *,
    out: np.ndarray | None = None,
    piece: Piece | None = None,
    bias: np.ndarray | None = None,
    accumulate: bool = False,
    from_rows: np.ndarray | None = None,
    out_rows: np.ndarray | None = None,
    instruction_set: str | None = None,
) -> np.ndarray:
    """x @ weights.T (+ bias), from quantised activations, or in float32 if `x` is an array.

    accumulate  add to `out` instead of overwriting it
    from_rows   float `x` only: token t is x[from_rows[t]]
    out_rows    the row of `out` that token t goes to; each at most once
    """
    if isinstance(x, np.ndarray):
        check_floats("x", x, (None, weights.columns))
        check_rows("from_rows", from_rows, len(x))
        tokens = len(x) if from_rows is None else len(from_rows)
    else:
        if from_rows is not None:
            raise ValueError("linear: from_rows goes with float activations; quantised ones are gathered by quantise.")
        if x.columns != weights.columns or not _native.takes_int8(weights.layout):
            raise ValueError(
                f"linear: quantised activations of {x.columns} columns for {weights.layout} weights of "
                f"{weights.columns}; expected equal columns, and float activations for BF16, F16 and F32."
            )
        tokens = x.tokens
    if bias is not None:
        check_floats("bias", bias, (weights.rows,))
    check_rows("out_rows", out_rows, None if out is None else len(out), tokens)
    if out is None:
        if accumulate or out_rows is not None or piece is not None:
            raise ValueError("linear: accumulate, out_rows and piece need an `out` to write into.")
        out = np.empty((tokens, weights.rows), np.float32)
    check_floats("out", out, (None if out_rows is not None else tokens, weights.rows))
    piece = piece or Piece(0, weights.rows, 0, tokens)
    piece.check(weights.rows, tokens)
    bounds = (piece.row_begin, piece.row_end, piece.token_begin, piece.token_end)
    chosen = instruction_set or best_instruction_set()
    shape = (weights.layout, weights.rows, weights.columns, weights.data)
    if isinstance(x, np.ndarray):
        _native.matmul_f32(chosen, *shape, x, from_rows, out, bounds, bias, accumulate, out_rows)
    else:
        _native.matmul(chosen, *shape, x.data, x.code_bytes, tokens, out, bounds, bias, accumulate, out_rows)
    return out


def check_floats(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Raises ValueError unless it is contiguous float32 of that shape; None is any length."""
    fits = array.ndim == len(shape) and all(
        size in (None, given) for size, given in zip(shape, array.shape, strict=True)
    )
    if array.dtype != np.float32 or not fits or not array.flags.c_contiguous:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"linear: {name} is {array.dtype}{array.shape}, expected contiguous float32({wanted}).")


def check_columns(x: np.ndarray) -> None:
    """Raises ValueError unless columns come in whole blocks of 32."""
    if x.shape[1] % 32 or x.shape[1] == 0:
        raise ValueError(f"linear: x has {x.shape[1]} columns, expected a positive multiple of 32.")


def check_rows(name: str, rows: np.ndarray | None, below: int | None, count: int | None = None) -> None:
    """Raises ValueError unless they are contiguous int32 below that number, and so many."""
    if rows is None:
        return
    fits = rows.dtype == np.int32 and rows.ndim == 1 and rows.flags.c_contiguous and count in (None, len(rows))
    if not fits or below is None or (rows.size and not 0 <= rows.min() <= rows.max() < below):
        raise ValueError(
            f"linear: {name} is {rows.dtype}{rows.shape}, expected contiguous int32"
            f"({'any' if count is None else count},) with numbers below {below}."
        )
