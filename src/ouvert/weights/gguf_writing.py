"""Writing GGUF files, version 3. The format: github.com/ggml-org/ggml/blob/master/docs/gguf.md"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .encodings import encoded_bytes
from .error import CheckpointError, shown
from .gguf import DEFAULT_ALIGNMENT, MAGIC, TYPES
from .writing import TensorWriter

VERSION = 3
UINT32, FLOAT32, STRING = 4, 6, 8  # types of metadata values
NUMBERS = {name: number for number, name in TYPES.items()}  # enum ggml_type
LONGEST_NAME = 63  # of a tensor: GGML_MAX_NAME, without the zero at its end

Tensors = Mapping[str, tuple[str, Sequence[int]]]  # encoding and shape by name


class GgufWriter(TensorWriter):
    """A GGUF file. `metadata`: values as `gguf_value` encodes them, or as `gguf_metadata` found them in another file.

    Raises CheckpointError, besides what TensorWriter does, for an encoding or a name that GGUF does not have.
    """

    def __init__(self, path: Path, tensors: Tensors, metadata: Mapping[str, bytes]) -> None:
        header, places = arrange(tensors, metadata)
        super().__init__(path, header, places, tensors)


def arrange(tensors: Tensors, metadata: Mapping[str, bytes]) -> tuple[bytes, dict[str, range]]:
    """(header, bytes of each tensor in the file). Raises CheckpointError for what the format cannot hold."""
    alignment = DEFAULT_ALIGNMENT
    if stated := metadata.get("general.alignment"):
        (alignment,) = struct.unpack_from("<I", stated, 4)
    parts = [struct.pack("<4sIQQ", MAGIC, VERSION, len(tensors), len(metadata))]
    parts += [piece for key, value in metadata.items() for piece in (text(key), value)]
    sizes: dict[str, range] = {}
    start = 0
    for name, (encoding, shape) in tensors.items():
        if encoding not in NUMBERS or len(name.encode()) > LONGEST_NAME:
            raise CheckpointError(
                f"Writing GGUF: {shown(name)} in {encoding} was declared; encodings are {', '.join(NUMBERS)}, and a "
                f"name has {LONGEST_NAME} bytes at most. Declare another."
            )
        axes = shape[::-1]  # the innermost comes first
        parts += [text(name), struct.pack(f"<I{len(axes)}QIQ", len(axes), *axes, NUMBERS[encoding], start)]
        sizes[name] = range(start, start + encoded_bytes(encoding, shape))
        start = -(-sizes[name].stop // alignment) * alignment
    header = b"".join(parts)
    header += b"\0" * (-len(header) % alignment)
    return header, {name: range(len(header) + at.start, len(header) + at.stop) for name, at in sizes.items()}


def gguf_value(key: str, value: str | int | float) -> bytes:
    """Text, an integer (as uint32) or a float (as float32) with its type. Raises CheckpointError for an integer that no
    uint32 can hold."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + text(value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if not 0 <= value < 1 << 32:
        raise CheckpointError(f"writing GGUF: {shown(key)} is {value}, expected 0 to 2^32 - 1. Write it as text.")
    return struct.pack("<II", UINT32, value)


def write_gguf(path: Path, metadata: Mapping[str, str | int | float], tensors: Mapping[str, np.ndarray]) -> None:
    """Write float32 tensors, whole or not at all. Raises CheckpointError for tensors of another type, and what
    GgufWriter and gguf_value raise."""
    for name, values in tensors.items():
        if values.dtype != np.float32:
            raise CheckpointError(f"writing GGUF: {shown(name)} is {values.dtype}, expected float32. Convert it first.")
    encoded = {key: gguf_value(key, value) for key, value in metadata.items()}
    with GgufWriter(path, {name: ("F32", values.shape) for name, values in tensors.items()}, encoded) as writer:
        for name, values in tensors.items():
            writer.write(name, values.astype("<f4"))


def text(value: str) -> bytes:
    """As GGUF writes strings: length, then UTF-8."""
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded
