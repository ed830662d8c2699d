"""Whatever bytes a file has, it opens and decodes or is refused with CheckpointError, within its means.

The assertions stand in `survives` and `hold_to_its_word`: another exception than CheckpointError, memory beyond what
the file's size justifies, tensors that share bytes or do not decode. `test_the_helper_would_notice` shows that they can
fail.
"""

import json
import struct
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ouvert.weights import Checkpoint, CheckpointError, open_checkpoint

EXAMPLES = 100  # of each kind in everyday runs; 4000 of each were run while the readers were written
# Python's objects for a header, and float32 for weights of two bits, take at most so many bytes for each of the file's.
# The constant covers the error, the map's bookkeeping and the pieces of a decoder.
MOST_PER_BYTE = 64
MOST_IN_ANY_CASE = 2 << 20

settings.register_profile(
    "hostile",
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
HOSTILE = settings.get_profile("hostile")


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "model-00001-of-00001.gguf"


class SimpleTensor:
    """What `hold_to_its_word` looks at."""

    def __init__(self, name: str, data: np.ndarray, shape: tuple[int, ...] = (2,)) -> None:
        self.name, self.data, self.shape = name, data, shape

    def decode(self) -> np.ndarray:
        return np.zeros(2, np.float32)


def survives(path: Path, data: bytes) -> bool:
    """Open and decode these bytes within the memory they justify. True if they were a checkpoint."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        checkpoint = open_checkpoint(path)
    except CheckpointError as refused:
        str(refused).encode()  # can be printed
        return False
    else:
        hold_to_its_word(checkpoint, len(data))
        return True
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < MOST_IN_ANY_CASE + MOST_PER_BYTE * len(data)


def hold_to_its_word(checkpoint: Checkpoint, size: int) -> None:
    """What opened must decode, and no two tensors share a byte."""
    reached = 0
    for tensor in sorted(checkpoint.tensors.values(), key=lambda tensor: tensor.data.ctypes.data):
        tensor.name.encode()
        assert tensor.decode().shape == tensor.shape
        if tensor.data.size:
            assert tensor.data.ctypes.data >= reached
            reached = tensor.data.ctypes.data + tensor.data.size
    assert sum(tensor.data.size for tensor in checkpoint.tensors.values()) <= size
    for text in (text for pair in checkpoint.metadata.items() for text in pair if isinstance(text, str)):
        text.encode()


NUMBERS = [
    0,
    1,
    2,
    7,
    8,
    9,
    10,
    31,
    32,
    33,
    39,
    255,
    2**16,
    2**31 - 1,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
]


@st.composite
def changes(draw: st.DrawFn, data: bytes) -> bytes:
    """A few small changes: bytes, whole numbers, pieces left out, doubled or put in, the end cut off."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(changed) - 1)))
        match draw(st.sampled_from(["byte", "number", "short number", "leave out", "double", "put in", "cut"])):
            case "byte":
                changed[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "number":
                changed[at : at + 8] = struct.pack("<Q", draw(st.sampled_from(NUMBERS)))
            case "short number":
                changed[at : at + 4] = struct.pack("<I", draw(st.sampled_from(NUMBERS)) & 0xFFFFFFFF)
            case "leave out":
                del changed[at : at + draw(st.integers(1, 40))]
            case "double":
                changed[at:at] = changed[at : at + draw(st.integers(1, 80))]
            case "put in":
                changed[at:at] = draw(st.binary(max_size=16) | st.text(max_size=8).map(str.encode))
            case "cut":
                del changed[at:]
    return bytes(changed)


def small_gguf() -> bytes:
    return (Path(__file__).parents[1] / "goldens" / "weights" / "small.gguf").read_bytes()


def small_safetensors() -> bytes:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
        "c": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [32, 36]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + np.arange(36, dtype=np.uint8).tobytes()


def test_the_files_that_are_changed_are_right_before(file: Path) -> None:
    assert survives(file, small_gguf())
    assert survives(file, small_safetensors())


@pytest.mark.parametrize("harm", ["another exception", "too much memory", "shared bytes", "another shape"])
def test_the_helper_would_notice(file: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    """A reader with one of the faults that hostile files look for."""

    def faulty(path: Path) -> Any:
        if harm == "another exception":
            raise KeyError("general.architecture")
        if harm == "too much memory":
            bytearray(MOST_IN_ANY_CASE * 3)
            raise CheckpointError("refused, but too late")
        data = np.zeros(8, np.uint8)
        tensors = {name: SimpleTensor(name, data) for name in "ab"}
        if harm == "another shape":
            tensors = {"a": SimpleTensor("a", data, (3,))}
        return SimpleNamespace(tensors=tensors, metadata={})

    monkeypatch.setattr(f"{__name__}.open_checkpoint", faulty)
    with pytest.raises((KeyError, AssertionError)):
        survives(file, small_gguf())


@HOSTILE
@given(data=changes(small_gguf()))
def test_changed_gguf_files(file: Path, data: bytes) -> None:
    survives(file, data)


@HOSTILE
@given(data=changes(small_gguf()[:1100]))
def test_changed_headers_of_gguf(file: Path, data: bytes) -> None:
    survives(file, data)


@HOSTILE
@given(data=changes(small_safetensors()))
def test_changed_safetensors_files(file: Path, data: bytes) -> None:
    survives(file, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("F32"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "weight_map"]) | st.text(max_size=3), inner
    ),
    max_leaves=12,
)  # fmt: skip


@HOSTILE
@given(header=JSON, data=st.binary(max_size=40))
def test_safetensors_headers_of_any_json(file: Path, header: Any, data: bytes) -> None:
    text = json.dumps(header).encode()
    survives(file, struct.pack("<Q", len(text)) + text + data)


ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "U8", "F8_E4M3", "X"]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 3, -1, 2**61, 2**63, True, "1"]), max_size=3) | JSON,
        "data_offsets": st.lists(st.sampled_from([0, 1, 2, 4, 8, 12, -1, 2**62]), min_size=2, max_size=2) | JSON,
    }
)


@HOSTILE
@given(header=st.dictionaries(st.sampled_from(["a", "b", "c", "\ud800"]), ENTRY), data=st.binary(max_size=16))
def test_safetensors_headers_that_are_nearly_right(file: Path, header: Any, data: bytes) -> None:
    text = json.dumps(header).encode()
    survives(file, struct.pack("<Q", len(text)) + text + data)


@HOSTILE
@given(text=JSON.map(json.dumps) | st.text(max_size=60))
def test_indexes_of_any_content(file: Path, text: str) -> None:
    survives(file.with_name("model.safetensors.index.json"), text.encode())


@HOSTILE
@given(data=st.binary(max_size=200), start=st.sampled_from([b"", b"GGUF", b"GGUF\3\0\0\0", b"\x10" + bytes(7) + b"{"]))
def test_arbitrary_bytes(file: Path, data: bytes, start: bytes) -> None:
    survives(file, start + data)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 0, 500_000) + bytes(500_000),
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 8, 60_000) + bytes(8 * 60_000),
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 40_000) + bytes(12 * 40_000),
        struct.pack("<Q", 600_006) + b'{"a":' + b"[" + b"[]," * 199_999 + b"[]" + b"]}",
        struct.pack("<Q", 1_400_001) + b"{" + b",".join(b'"%06d":{}' % n for n in range(127_272)) + b"}",
    ],
    ids=["bytes", "empty texts", "empty arrays", "empty lists", "empty entries"],
)
def test_headers_made_to_swell_stay_within_bounds(file: Path, data: bytes) -> None:
    survives(file, data)
