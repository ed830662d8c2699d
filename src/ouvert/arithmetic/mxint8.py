"""Numbers of 8 bits that share an exponent: MXINT8 of the OCP Microscaling Formats 1.0. Adapters are rounded to it."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

BLOCK = 32  # numbers of a row that share an exponent; the last of a row may be fewer
LEAST_EXPONENT = -24  # of the unit that codes count: what lies below it is 0, as in a half
LARGEST = 2.0**46  # no number of what the kernels take in this form


def as_mxint8(numbers: Array) -> Array:
    """float32 (..., columns), each rounded to code · 2^n, to the nearest and of two to the even. A code is a whole
    number in -127 .. 127, and n is the least with which the block's largest number has one, -24 at the least.

    Rounding again changes nothing, and 8 bits of significand hold every code: BF16 has the same numbers. Zeros are
    positive. Numbers that are not finite spoil their block. Raises nothing.
    """
    columns = numbers.shape[-1]
    block = min(BLOCK, columns)
    rows = np.ascontiguousarray(numbers, np.float32).reshape(-1, columns)
    whole = np.pad(rows, ((0, 0), (0, -columns % block))) if columns % block else rows
    blocks = whole.reshape(-1, block)
    largest = np.abs(blocks).max(-1, keepdims=True)
    exponent = np.maximum(np.frexp(largest)[1] - 7, LEAST_EXPONENT)
    exponent += np.rint(np.ldexp(largest, -exponent)) > 127
    codes = np.rint(blocks * np.ldexp(np.float32(1), -exponent))
    codes *= np.ldexp(np.float32(1), exponent)
    codes += np.float32(0)  # of -0
    return np.ascontiguousarray(codes.reshape(whole.shape)[:, :columns]).reshape(numbers.shape)


def is_mxint8(numbers: Array) -> bool:
    """Whether the kernels hold these float32 numbers exactly in 8 bits with a shared exponent. Raises nothing."""
    rows = np.ascontiguousarray(numbers, np.float32).reshape(-1, numbers.shape[-1])
    if (rows.view(np.uint32) & 0xFFFF).any() or not np.abs(rows).max(initial=0) < LARGEST:
        return False
    some, others = rows[:1], rows[1:]  # most that are not such numbers show it at once
    return all(np.array_equal(as_mxint8(each), each) for each in (some, others))
