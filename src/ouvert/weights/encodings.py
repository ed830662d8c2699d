"""How numbers are written in checkpoints: one table, and `decode`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import blocks, floats
from .error import CheckpointError

# Weights decoded at a time: their float32 values and the temporaries fit in a second-level cache.
PIECE_WEIGHTS = 1 << 16
# Numbers of 8 bytes that 63 bits can count.
MOST_WEIGHTS = (1 << 60) - 1


@dataclass(frozen=True, slots=True)
class Encoding:
    """`block_weights` numbers take `layout.itemsize` bytes; `decoder` turns records into `result` values."""

    block_weights: int
    layout: np.dtype[np.generic]
    result: np.dtype[np.generic]
    decoder: blocks.Decoder

    @property
    def block_bytes(self) -> int:
        """Bytes that `block_weights` numbers take. Raises nothing."""
        return self.layout.itemsize


def plain(kind: str) -> Encoding:
    """Numbers as NumPy knows them, handed on unchanged (in the machine's byte order)."""
    layout = np.dtype(kind)
    return Encoding(1, layout, layout.newbyteorder("="), floats.same)


def quantised(layout: np.dtype[np.void], weights: int, decoder: blocks.Decoder) -> Encoding:
    return Encoding(weights, layout, np.dtype(np.float32), decoder)


def small_float(kind: str, decoder: blocks.Decoder) -> Encoding:
    return Encoding(1, np.dtype(kind), np.dtype(np.float32), decoder)


# Every encoding that is read here, by the name that GGUF or safetensors gives it.
ENCODINGS: dict[str, Encoding] = {
    "F64": plain("<f8"),
    "F32": plain("<f4"),
    "F16": small_float("<f2", floats.same),
    "BF16": small_float("<u2", floats.bf16),
    "F8_E4M3": small_float("u1", floats.f8_e4m3),
    "BOOL": Encoding(1, np.dtype("u1"), np.dtype("?"), floats.truth),
    "U8": plain("u1"),
    "I8": plain("i1"),
    "U16": plain("<u2"),
    "I16": plain("<i2"),
    "U32": plain("<u4"),
    "I32": plain("<i4"),
    "U64": plain("<u8"),
    "I64": plain("<i8"),
    "Q4_0": quantised(blocks.Q4_0, 32, blocks.q4_0),
    "Q4_1": quantised(blocks.Q4_1, 32, blocks.q4_1),
    "Q5_0": quantised(blocks.Q5_0, 32, blocks.q5_0),
    "Q5_1": quantised(blocks.Q5_1, 32, blocks.q5_1),
    "Q8_0": quantised(blocks.Q8_0, 32, blocks.q8_0),
    "Q2_K": quantised(blocks.Q2_K, 256, blocks.q2_k),
    "Q3_K": quantised(blocks.Q3_K, 256, blocks.q3_k),
    "Q4_K": quantised(blocks.Q4_K, 256, blocks.q4_k),
    "Q5_K": quantised(blocks.Q5_K, 256, blocks.q5_k),
    "Q6_K": quantised(blocks.Q6_K, 256, blocks.q6_k),
    "IQ4_NL": quantised(blocks.IQ4_NL, 32, blocks.iq4_nl),
    "MXFP4": quantised(blocks.MXFP4, 32, blocks.mxfp4),
}


def encoding_called(name: str) -> Encoding:
    """Raises CheckpointError for a name that the table does not have."""
    if name not in ENCODINGS:
        raise CheckpointError(
            f"Weights in {name} cannot be decoded: encodings read here are {', '.join(ENCODINGS)}. "
            "Use a checkpoint in one of these."
        )
    return ENCODINGS[name]


def encoded_bytes(name: str, shape: Sequence[int]) -> int:
    """How many bytes a tensor takes. Blocks lie along the last axis and never reach over its end.

    Raises CheckpointError if the last axis is not a whole number of blocks, or no array can have this shape.
    """
    encoding = encoding_called(name)
    if math.prod(axis or 1 for axis in shape) > MOST_WEIGHTS:  # NumPy counts so too: an empty array may be too large
        raise CheckpointError(
            f"A tensor of shape {tuple(shape)} cannot be: at most {MOST_WEIGHTS} numbers can be addressed. "
            "The file is damaged or was written wrongly: fetch it again."
        )
    last = shape[-1] if shape else 1
    if last % encoding.block_weights:
        raise CheckpointError(
            f"A tensor of shape {tuple(shape)} cannot be in {name}: its last axis must be a multiple of "
            f"{encoding.block_weights}. The file is damaged or was written wrongly: fetch it again."
        )
    return math.prod(shape) // encoding.block_weights * encoding.block_bytes


def decode(encoding: str, data: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The numbers in `data` (flat uint8) as an array of `shape`, owned by the caller.

    Floating-point and quantised encodings give float32; F64 stays float64 and integers keep their type. Infinities and
    NaNs in scales come out as IEEE arithmetic has them; nothing is cleaned. Temporary memory is a few PIECE_WEIGHTS,
    however large the tensor.

    Raises CheckpointError if the number of bytes is not what encoding and shape say.
    """
    how = encoding_called(encoding)
    expected = encoded_bytes(encoding, shape)
    if data.dtype != np.uint8 or data.size != expected:
        raise CheckpointError(
            f"Decoding {encoding} to shape {tuple(shape)} takes {expected} bytes (uint8), not {data.size} of "
            f"{data.dtype}: hand over all of the tensor's bytes."
        )
    records = np.ascontiguousarray(data).reshape(-1).view(how.layout)
    out = np.empty(tuple(shape), how.result)
    out_blocks = out.reshape(-1, how.block_weights)
    step = max(1, PIECE_WEIGHTS // how.block_weights)
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, len(records), step):
            how.decoder(records[start : start + step], out_blocks[start : start + step])
    return out
