"""Small files of both formats, built by hand so that any part of them can be made wrong."""

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

GOLDENS = Path(__file__).parents[1] / "goldens" / "weights"


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def key(name: str | bytes, kind: int, value: bytes) -> bytes:
    """A metadata entry: 4 is uint32, 8 a string, 9 an array (its element type, count and elements are `value`)."""
    return text(name) + struct.pack("<I", kind) + value


def entry(name: str | bytes, dims: Sequence[int], kind: int, offset: int) -> bytes:
    """A row of the table of tensors, with `dims` in the file's order (fastest first)."""
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def build_gguf(
    keys: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    num_keys: int | None = None,
    num_tensors: int | None = None,
    alignment: int = 32,
) -> bytes:
    keys, tensors = list(keys), list(tensors)
    counts = len(tensors) if num_tensors is None else num_tensors, len(keys) if num_keys is None else num_keys
    head = magic + struct.pack("<IQQ", version, *counts) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


def build_safetensors(header: dict[str, Any] | str | bytes, data: bytes = b"", *, length: int | None = None) -> bytes:
    if isinstance(header, dict):
        header = json.dumps(header)
    if isinstance(header, str):
        header = header.encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


class Builders:
    key, text, entry = staticmethod(key), staticmethod(text), staticmethod(entry)
    gguf, safetensors = staticmethod(build_gguf), staticmethod(build_safetensors)


@pytest.fixture(scope="session")
def build() -> type[Builders]:
    return Builders


@pytest.fixture(scope="session")
def goldens() -> Path:
    return GOLDENS


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes, str], Path]:
    """Writes bytes into a file of a fresh folder."""

    def write(data: bytes, name: str = "file") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write
