"""Numbers written as checkpoints have them: for the few encodings that are written here."""

from collections.abc import Callable

import numpy as np

from .blocks import Q8_0
from .error import CheckpointError

BLOCK = 32


def f16(values: np.ndarray) -> np.ndarray:
    """To nearest, ties to even."""
    with np.errstate(over="ignore"):
        return values.astype("<f2")


def bf16(values: np.ndarray) -> np.ndarray:
    """To nearest, ties to even."""
    bits: np.ndarray = np.ascontiguousarray(values, "<f4").view("<u4")
    rounded: np.ndarray = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")
    return rounded


def q8_0(values: np.ndarray) -> np.ndarray:
    """Blocks of 32: the largest magnitude becomes 127; halves are rounded away from zero. ggml-quants.c,
    quantize_row_q8_0_ref."""
    numbers = np.ascontiguousarray(values, np.float32).reshape(-1, BLOCK)
    scales = np.abs(numbers).max(axis=1) / np.float32(127)
    inverse = np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)
    scaled = numbers * inverse[:, None]
    blocks = np.empty(len(numbers), Q8_0)
    with np.errstate(over="ignore"):
        blocks["scale"] = scales
    whole = np.trunc(scaled)
    blocks["codes"] = whole + np.trunc(2 * (scaled - whole))
    return blocks


WRITERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"F32": lambda values: values, "F16": f16, "BF16": bf16,
                                                         "Q8_0": q8_0}  # fmt: skip


def encode(encoding: str, values: np.ndarray) -> np.ndarray:
    """float32 values, flat uint8. Raises CheckpointError for an encoding that is not written here, for rows that are
    no whole number of blocks, and for numbers that are not finite or too large for it."""
    if encoding not in WRITERS or (encoding == "Q8_0" and values.shape[-1] % BLOCK):
        raise CheckpointError(
            f"Writing numbers of shape {values.shape} in {encoding}: {', '.join(WRITERS)} are written, Q8_0 in rows of "
            f"multiples of {BLOCK}. Choose another encoding."
        )
    largest = float(np.abs(values).max(initial=0))
    if not largest <= MOST[encoding]:
        raise CheckpointError(
            f"Writing numbers in {encoding}: the largest is {largest:g}, expected finite ones to {MOST[encoding]:g}. "
            "Choose BF16, which has the range of float32; numbers that are not finite are no weights."
        )
    written = np.ascontiguousarray(WRITERS[encoding](np.ascontiguousarray(values, "<f4")))
    return written.reshape(-1).view(np.uint8)


# The largest magnitude that becomes no infinity.
MOST = {"F32": 3.4028234e38, "F16": 65519.0, "BF16": 3.3895313e38, "Q8_0": 65519.0 * 127}
