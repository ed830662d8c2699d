"""Writing safetensors: pieces in any order, and a final name only for a whole file."""

import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from ouvert.weights import CheckpointError, SafetensorsWriter, open_checkpoint, wait_for_writer, writing

DECLARED = {
    "odd": ("F32", (3,)),
    "even": ("F32", (64, 4)),
    "half": ("F16", (5,)),
    "bytes": ("U8", (7,)),
    "brain": ("BF16", (2, 2)),
    "none": ("I64", (0, 3)),
    "truth": ("BOOL", (2,)),
}


def write_all(writer: SafetensorsWriter) -> dict[str, np.ndarray]:
    even = np.arange(256, dtype=np.float32).reshape(64, 4)
    arrays = {
        "odd": np.array([1, 2, 3], np.float32),
        "half": np.arange(5, dtype=np.float16),
        "bytes": np.arange(7, dtype=np.uint8),
        "truth": np.array([True, False]),
    }
    writer.write("even", even[:10])
    writer.write("bytes", bytes(arrays["bytes"][:3]))
    writer.write("brain", np.array([[0x3F80, 0x4000], [0xBF80, 0]], np.uint16))
    writer.write("even", even[10:].tobytes())
    writer.write("bytes", arrays["bytes"][3:])
    for name in ("truth", "odd", "half"):
        writer.write(name, arrays[name])
    return arrays | {"even": even, "none": np.zeros((0, 3), np.int64)}


def test_pieces_in_any_order_make_the_file_that_was_declared(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with SafetensorsWriter(path, DECLARED, {"layout": "plain", "名": "é"}) as writer:
        arrays = write_all(writer)
        assert not path.exists()
        assert writer.partial.exists()
    assert os.listdir(tmp_path) == ["x.safetensors"]
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.metadata == {"layout": "plain", "名": "é"}
        brain = checkpoint.tensors["brain"].decode()
        assert brain.tolist() == [[1, 2], [-1, 0]]
        for tensor in checkpoint.tensors.values():
            assert len(tensor.data) % 64 or tensor.data.ctypes.data % 64 == 0
    with safe_open(path, "numpy") as file:  # the library agrees
        assert file.metadata() == {"layout": "plain", "名": "é"}
        for name, array in arrays.items():
            assert np.array_equal(file.get_tensor(name), array)


def test_a_file_without_tensors_is_a_file(tmp_path: Path) -> None:
    with SafetensorsWriter(tmp_path / "x.safetensors", {}):
        pass
    assert load_file(tmp_path / "x.safetensors") == {}
    assert not open_checkpoint(tmp_path / "x.safetensors").tensors


def test_an_error_in_between_leaves_nothing_and_spares_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), SafetensorsWriter(path, DECLARED):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["x.safetensors"]
    assert path.read_bytes() == b"old"


KILLED = """
import os, signal, sys
from pathlib import Path
from ouvert.weights import SafetensorsWriter
with SafetensorsWriter(Path(sys.argv[1]), {"a": ("U8", (1 << 20,))}) as writer:
    writer.write("a", bytes((1 << 20) - int(sys.argv[2])))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("short", [0, 1, 1 << 20])
def test_a_killed_writer_leaves_no_final_file_and_the_next_one_succeeds(tmp_path: Path, short: int) -> None:
    path = tmp_path / "x.safetensors"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), str(short)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["x.safetensors.partial"]
    with SafetensorsWriter(path, {"b": ("U8", (3,))}) as writer:
        writer.write("b", b"abc")
    assert os.listdir(tmp_path) == ["x.safetensors"]
    assert load_file(path)["b"].tobytes() == b"abc"


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with SafetensorsWriter(path, {"a": ("U8", (1,))}) as writer:
        with pytest.raises(CheckpointError, match="being written by another process"):
            SafetensorsWriter(path, {"b": ("U8", (1,))})
        writer.write("a", b"x")
    assert list(load_file(path)) == ["a"]


def test_one_may_wait_until_another_has_written(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    seen: list[list[str]] = []
    with SafetensorsWriter(path, {"a": ("U8", (1,))}) as writer:
        waiting = threading.Thread(target=lambda: (wait_for_writer(path), seen.append(os.listdir(tmp_path))))
        waiting.start()
        writer.write("a", b"x")
        assert not seen
    waiting.join()
    assert seen == [["x.safetensors"]]
    wait_for_writer(path)  # nobody writes


def test_what_was_not_declared_so_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with SafetensorsWriter(path, {"a": ("F32", (2,))}) as writer:
        with pytest.raises(CheckpointError, match="'b' was not declared"):
            writer.write("b", b"")
        with pytest.raises(CheckpointError, match="declared as numbers of float32, but a piece of float64"):
            writer.write("a", np.zeros(2))
        with pytest.raises(CheckpointError, match="takes 8 bytes, but 12 were written"):
            writer.write("a", np.zeros(3, np.float32))
        writer.write("a", np.zeros(2, np.float32))
        with pytest.raises(CheckpointError, match="takes 8 bytes, but 9 were written"):
            writer.write("a", b"x")


def test_a_file_that_lacks_something_does_not_get_its_name(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match=r"1 tensors are not complete \(first: 'a', 4 of 8 bytes\)"),
        SafetensorsWriter(tmp_path / "x.safetensors", {"a": ("F32", (2,)), "none": ("F32", (0,))}) as writer,
    ):
        writer.write("a", np.zeros(1, np.float32))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("tensors", "metadata"),
    [
        ({"a": ("Q4_0", (32,))}, {}),
        ({"__metadata__": ("U8", (1,))}, {}),
        ({"\ud800": ("U8", (1,))}, {}),
        ({}, {"a": "\udfff"}),
        ({}, {"a": 1}),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, tensors: dict, metadata: dict) -> None:
    with pytest.raises(CheckpointError, match=r"^Writing safetensors: "):
        SafetensorsWriter(tmp_path / "x.safetensors", tensors, metadata)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(CheckpointError, match=r"will take \d+ bytes, but its disk has room for 1000"):
        SafetensorsWriter(tmp_path / "x.safetensors", {"a": ("U8", (1 << 20,))})
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        SafetensorsWriter(tmp_path / "absent" / "x.safetensors", {})


def test_memory_stays_small_whatever_the_file(tmp_path: Path) -> None:
    piece = np.zeros(1 << 20, np.uint8)
    tracemalloc.start()
    with SafetensorsWriter(tmp_path / "x.safetensors", {"a": ("U8", (64 << 20,))}) as writer:
        for _ in range(64):
            writer.write("a", piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
