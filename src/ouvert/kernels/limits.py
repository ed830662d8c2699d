"""What this machine can do at most, measured: every speed is a share of one of these."""

import numpy as np

import ouvert.kernels._native as _native

# Far more than caches hold, and little enough for any machine that runs a model.
READ_BYTES = 512 << 20


def read_bandwidth(threads: int, repeats: int = 5) -> float:
    """Bytes a second that so many threads read from memory together. Takes about a second and half a gigabyte.

    Raises MemoryError where that is not free.
    """
    data = np.full(READ_BYTES, 1, np.uint8)
    return READ_BYTES / float(_native.measure_read(data, threads, repeats))


def multiply_adds(threads: int, repeats: int = 5) -> float:
    """8-bit multiplications with addition a second, of all threads, from registers: no product exceeds it.

    Raises nothing.
    """
    return float(_native.measure_integer_peak(_native.best_instruction_set(), threads, repeats))


def measure(threads: int) -> dict[str, float]:
    """Both limits, in GB/s and GMAC/s."""
    return {"read_GB_per_s": read_bandwidth(threads) / 1e9, "integer_GMAC_per_s": multiply_adds(threads) / 1e9}
