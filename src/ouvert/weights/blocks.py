"""GGUF's blocks of quantised weights as records, and what each means.

The records are those of ggml-common.h in github.com/ggml-org/ggml. The order of multiplications and additions is that
of ggml's dequantize_row_*, in float32, so the numbers are the same to the last bit.

Every decoder takes `blocks`, a one-dimensional array of records, and fills `out`, float32 (blocks, weights in a block).
"""

from collections.abc import Callable

import numpy as np

Decoder = Callable[[np.ndarray, np.ndarray], None]


def record(*fields: tuple[str, str, int]) -> np.dtype[np.void]:
    """A packed record of (name, type, count) fields; a count of 0 means a single value."""
    return np.dtype([(name, kind, (count,)) if count else (name, kind) for name, kind, count in fields])


Q4_0 = record(("scale", "<f2", 0), ("codes", "u1", 16))
Q4_1 = record(("scale", "<f2", 0), ("minimum", "<f2", 0), ("codes", "u1", 16))
Q5_0 = record(("scale", "<f2", 0), ("fifth_bits", "u1", 4), ("codes", "u1", 16))
Q5_1 = record(("scale", "<f2", 0), ("minimum", "<f2", 0), ("fifth_bits", "u1", 4), ("codes", "u1", 16))
Q8_0 = record(("scale", "<f2", 0), ("codes", "i1", 32))
Q2_K = record(("scales", "u1", 16), ("codes", "u1", 64), ("scale", "<f2", 0), ("minimum", "<f2", 0))
Q3_K = record(("third_bits", "u1", 32), ("codes", "u1", 64), ("scales", "u1", 12), ("scale", "<f2", 0))
Q4_K = record(("scale", "<f2", 0), ("minimum", "<f2", 0), ("scales", "u1", 12), ("codes", "u1", 128))
Q5_K = record(
    ("scale", "<f2", 0), ("minimum", "<f2", 0), ("scales", "u1", 12), ("fifth_bits", "u1", 32), ("codes", "u1", 128)
)
Q6_K = record(("codes", "u1", 128), ("high_bits", "u1", 64), ("scales", "i1", 16), ("scale", "<f2", 0))
IQ4_NL = Q4_0
MXFP4 = record(("exponent", "u1", 0), ("codes", "u1", 16))

# The sixteen values of a 4-bit float, two bits of exponent and one of mantissa, doubled (OCP Microscaling Formats 1.0).
E2M1_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)
# ggml's kvalues_iq4nl.
IQ4_NL_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
# Half of 2^(exponent - 127), so that it goes with doubled values and the smallest exponents stay exact.
# Exponent 255 counts on to 2^128, as in ggml and transformers; the OCP document calls it "not a number".
HALF_POWERS = np.ldexp(np.float32(1), np.arange(256) - 128).astype(np.float32)


def column(values: np.ndarray) -> np.ndarray:
    """One float32 per block, to be broadcast over the block's weights."""
    return values.astype(np.float32)[:, None]


def halves(codes: np.ndarray, out: np.ndarray) -> None:
    """The low halves of 16 bytes are weights 0 to 15, the high halves weights 16 to 31."""
    out[:, :16] = codes & 15
    out[:, 16:] = codes >> 4


def five_bit(blocks: np.ndarray) -> np.ndarray:
    """uint8 (blocks, 32): four bits from `halves`, the fifth from bit i of a 32-bit word for weight i."""
    codes = np.unpackbits(blocks["fifth_bits"], axis=1, bitorder="little")
    codes <<= 4
    codes[:, :16] |= blocks["codes"] & 15
    codes[:, 16:] |= blocks["codes"] >> 4
    return codes


def q4_0(blocks: np.ndarray, out: np.ndarray) -> None:
    """scale × (code - 8)"""
    halves(blocks["codes"], out)
    out -= 8
    out *= column(blocks["scale"])


def q4_1(blocks: np.ndarray, out: np.ndarray) -> None:
    """scale × code + minimum"""
    halves(blocks["codes"], out)
    out *= column(blocks["scale"])
    out += column(blocks["minimum"])


def q5_0(blocks: np.ndarray, out: np.ndarray) -> None:
    """scale × (code - 16)"""
    out[:] = five_bit(blocks)
    out -= 16
    out *= column(blocks["scale"])


def q5_1(blocks: np.ndarray, out: np.ndarray) -> None:
    """scale × code + minimum"""
    out[:] = five_bit(blocks)
    out *= column(blocks["scale"])
    out += column(blocks["minimum"])


def q8_0(blocks: np.ndarray, out: np.ndarray) -> None:
    """scale × code"""
    out[:] = blocks["codes"]
    out *= column(blocks["scale"])


def iq4_nl(blocks: np.ndarray, out: np.ndarray) -> None:
    """scale × one of sixteen values, closer together near zero"""
    out[:, :16] = IQ4_NL_VALUES[blocks["codes"] & 15]
    out[:, 16:] = IQ4_NL_VALUES[blocks["codes"] >> 4]
    out *= column(blocks["scale"])


def mxfp4(blocks: np.ndarray, out: np.ndarray) -> None:
    """2^(exponent - 127) × a 4-bit float"""
    out[:, :16] = E2M1_DOUBLED[blocks["codes"] & 15]
    out[:, 16:] = E2M1_DOUBLED[blocks["codes"] >> 4]
    out *= HALF_POWERS[blocks["exponent"]][:, None]


def q2_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Sixteen groups of 16 weights, each (scale × its 4-bit scale) × code - (minimum × its 4-bit minimum)"""
    scales = column(blocks["scale"]) * (blocks["scales"] & 15)  # (blocks, 16)
    minima = column(blocks["minimum"]) * (blocks["scales"] >> 4)
    codes = blocks["codes"].reshape(-1, 2, 32)
    quarters = out.reshape(-1, 2, 4, 32)
    for n in range(4):
        quarters[:, :, n] = (codes >> (2 * n)) & 3
    groups = out.reshape(-1, 16, 16)
    groups *= scales[:, :, None]
    groups -= minima[:, :, None]


def q3_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Sixteen groups of 16 weights, each (scale × (its 6-bit scale - 32)) × (code - 4)"""
    packed = blocks["scales"]
    six_bit = np.empty((len(blocks), 16), np.uint8)
    for n in range(4):  # bytes 0 to 7: the low 4 bits of scales n and n + 8; bytes 8 to 11: four times two high bits
        low = packed[:, 4 * (n % 2) : 4 * (n % 2) + 4]
        low = low & 15 if n < 2 else low >> 4
        six_bit[:, 4 * n : 4 * n + 4] = low | ((packed[:, 8:] >> (2 * n)) & 3) << 4
    scales = column(blocks["scale"]) * (six_bit.astype(np.float32) - 32)
    codes = blocks["codes"].reshape(-1, 2, 32)
    eighths = out.reshape(-1, 2, 4, 32)
    for half in range(2):
        for n in range(4):
            third_bit = (blocks["third_bits"] >> (4 * half + n)) & 1
            eighths[:, half, n] = (codes[:, half] >> (2 * n)) & 3 | third_bit << 2
    out -= 4
    groups = out.reshape(-1, 16, 16)
    groups *= scales[:, :, None]


def six_bit_scales(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eight scales and eight minima of 6 bits each from 12 bytes, (blocks, 8) each: the layout of Q4_K and Q5_K."""
    first, second, both = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, both & 15 | (first >> 6) << 4], axis=1)
    minima = np.concatenate([second & 63, both >> 4 | (second >> 6) << 4], axis=1)
    return scales, minima


def scale_eight_groups(blocks: np.ndarray, out: np.ndarray) -> None:
    """Codes in `out` become (scale × 6-bit scale) × code - (minimum × 6-bit minimum), by groups of 32 weights."""
    scales, minima = six_bit_scales(blocks["scales"])
    groups = out.reshape(-1, 8, 32)
    groups *= (column(blocks["scale"]) * scales)[:, :, None]
    groups -= (column(blocks["minimum"]) * minima)[:, :, None]


def q4_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Groups 2n and 2n + 1 are the low and high halves of the same 32 bytes."""
    codes = blocks["codes"].reshape(-1, 4, 32)
    pairs = out.reshape(-1, 4, 2, 32)
    pairs[:, :, 0] = codes & 15
    pairs[:, :, 1] = codes >> 4
    scale_eight_groups(blocks, out)


def q5_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Q4_K with a fifth bit: bit g of byte i of `fifth_bits` belongs to weight i of group g."""
    codes = blocks["codes"].reshape(-1, 4, 32)
    groups = out.reshape(-1, 8, 32)
    for n in range(8):
        low = codes[:, n // 2] >> 4 if n % 2 else codes[:, n // 2] & 15
        groups[:, n] = low | ((blocks["fifth_bits"] >> n) & 1) << 4
    scale_eight_groups(blocks, out)


def q6_k(blocks: np.ndarray, out: np.ndarray) -> None:
    """Sixteen groups of 16 weights, each (scale × its signed 8-bit scale) × (code - 32)"""
    scales = column(blocks["scale"]) * blocks["scales"]  # (blocks, 16)
    codes = blocks["codes"].reshape(-1, 2, 64)
    high_bits = blocks["high_bits"].reshape(-1, 2, 32)
    quarters = out.reshape(-1, 2, 4, 32)
    for n in range(4):
        low = codes[:, :, 32 * (n % 2) : 32 * (n % 2) + 32]
        low = low & 15 if n < 2 else low >> 4
        quarters[:, :, n] = low | ((high_bits >> (2 * n)) & 3) << 4
    out -= 32
    groups = out.reshape(-1, 16, 16)
    groups *= scales[:, :, None]
