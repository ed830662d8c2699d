"""Writing small GGUF files: metadata and tensors of float32, whole and at once."""

import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .error import CheckpointError, UnwritableError, shown
from .gguf import DEFAULT_ALIGNMENT, MAGIC

VERSION = 3
UINT32, FLOAT32, STRING = 4, 6, 8  # types of metadata values
F32 = 0  # enum ggml_type


def gguf_bytes(metadata: Mapping[str, str | int | float], tensors: Mapping[str, np.ndarray]) -> bytes:
    """A GGUF file, version 3, of float32 tensors. Metadata: text, integers (as uint32), and floats (as float32).

    Raises CheckpointError for tensors of another type, and for numbers that no uint32 can hold.
    """
    parts = [struct.pack("<4sIQQ", MAGIC, VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        if isinstance(value, str):
            parts += [text(key), struct.pack("<I", STRING), text(value)]
        elif isinstance(value, float):
            parts += [text(key), struct.pack("<If", FLOAT32, value)]
        elif 0 <= value < 1 << 32:
            parts += [text(key), struct.pack("<II", UINT32, value)]
        else:
            raise CheckpointError(f"writing GGUF: {shown(key)} is {value}, expected 0 to 2^32 - 1. Write it as text.")
    place, data = 0, []
    for name, values in tensors.items():
        if values.dtype != np.float32:
            raise CheckpointError(f"writing GGUF: {shown(name)} is {values.dtype}, expected float32. Convert it first.")
        shape = values.shape[::-1]  # the innermost axis comes first
        parts += [text(name), struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, F32, place)]
        encoded = values.astype("<f4").tobytes()
        data.append(padded(encoded))
        place += len(data[-1])
    return b"".join([padded(b"".join(parts)), *data])


def write_gguf(path: Path, metadata: Mapping[str, str | int | float], tensors: Mapping[str, np.ndarray]) -> None:
    """Write `gguf_bytes` to `path`, whole or not at all. Raises what that raises, and UnwritableError."""
    written = gguf_bytes(metadata, tensors)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(written)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UnwritableError(f"{path} cannot be written: {error}. Its folder must exist and be writable.") from error


def text(value: str) -> bytes:
    """As GGUF writes strings: length, then UTF-8."""
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def padded(data: bytes) -> bytes:
    """Up to the next multiple of the alignment."""
    return data + b"\0" * (-len(data) % DEFAULT_ALIGNMENT)
