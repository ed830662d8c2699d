"""Small floating-point formats: bfloat16, FP8 (e4m3) and the layouts in which Hugging Face checkpoints scale them."""

import numpy as np

from .blocks import E2M1_DOUBLED, HALF_POWERS
from .error import CheckpointError


def e4m3_values() -> np.ndarray:
    """The 256 values of FP8 e4m3 "fn": bias 7, no infinities, both all-ones codes are NaN (arXiv:2209.05433)."""
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    magnitude = np.where(exponent == 0, np.ldexp(mantissa / 8, -6), np.ldexp(1 + mantissa / 8, exponent - 7))
    magnitude[codes & 127 == 127] = np.nan
    return np.where(codes < 128, magnitude, -magnitude).astype(np.float32)


E4M3 = e4m3_values()
# The sixteen 4-bit floats doubled; the ninth is a negative zero here (in ggml, whose table holds integers, it is not).
E2M1 = np.copysign(E2M1_DOUBLED, np.repeat([1, -1], 8)).astype(np.float32)
# Both 4-bit floats of a byte at once, low half first: float32 (256, 2) seen as 256 values of 64 bits.
E2M1_PAIRS = np.stack([np.tile(E2M1, 16), np.repeat(E2M1, 16)], axis=1).view(np.uint64)[:, 0]


def same(values: np.ndarray, out: np.ndarray) -> None:
    """Numbers that NumPy converts itself."""
    out[:, 0] = values


def truth(values: np.ndarray, out: np.ndarray) -> None:
    """Any byte but zero is true."""
    out[:, 0] = values != 0


def bf16(codes: np.ndarray, out: np.ndarray) -> None:
    """bfloat16 is the upper half of a float32."""
    bits = out.view(np.uint32)
    bits[:, 0] = codes
    bits <<= 16


def f8_e4m3(codes: np.ndarray, out: np.ndarray) -> None:
    out[:, 0] = E4M3[codes]


def decode_fp8_blocks(codes: np.ndarray, scales: np.ndarray, block: tuple[int, int] = (128, 128)) -> np.ndarray:
    """DeepSeek's FP8 weights: float32 (rows, columns).

    codes   uint8 (rows, columns), FP8 e4m3
    scales  float (ceil(rows / block[0]), ceil(columns / block[1])), "weight_scale_inv": what to multiply a block by;
            blocks at the lower and right edges may be cut off

    Raises CheckpointError if the scales do not fit the codes.
    """
    rows, columns = codes.shape
    expected = (-(-rows // block[0]), -(-columns // block[1]))
    if codes.dtype != np.uint8 or scales.shape != expected:
        raise CheckpointError(
            f"FP8 codes {codes.dtype} {codes.shape} in blocks of {block} need uint8 and scales of shape {expected}, "
            f"not {scales.shape}: check weight_block_size in config.json and which scales belong to this tensor."
        )
    out = np.empty(codes.shape, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for n in range(expected[0]):
            band = slice(n * block[0], min((n + 1) * block[0], rows))
            np.take(E4M3, codes[band], out=out[band], mode="clip")
            out[band] *= np.repeat(scales[n].astype(np.float32), block[1])[:columns]
    return out


def decode_mxfp4_blocks(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """gpt-oss's expert weights: float32 (..., groups × 32).

    blocks  uint8 (..., groups, 16), "*_blocks": byte i holds weights 2i (low half) and 2i + 1 (high half)
    scales  uint8 (..., groups), "*_scales": e for a scale of 2^(e - 127)

    Raises CheckpointError if the two do not fit.
    """
    if blocks.dtype != np.uint8 or scales.dtype != np.uint8 or blocks.shape != (*scales.shape, 16):
        raise CheckpointError(
            f"MXFP4 blocks {blocks.dtype} {blocks.shape} and scales {scales.dtype} {scales.shape} do not fit: blocks "
            "must be uint8 (..., groups, 16) and scales uint8 (..., groups). Check that both are of the same tensor."
        )
    out = np.empty((*scales.shape[:-1], scales.shape[-1] * 32), np.float32)
    flat_blocks, flat_scales, flat_out = blocks.reshape(-1, 16), scales.reshape(-1), out.reshape(-1, 32)
    step = 2048
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(flat_scales), step):
            piece = flat_out[start : start + step]
            np.take(E2M1_PAIRS, flat_blocks[start : start + step], out=piece.view(np.uint64), mode="clip")
            piece *= HALF_POWERS[flat_scales[start : start + step]][:, None]
    return out
