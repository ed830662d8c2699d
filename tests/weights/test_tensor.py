"""Rows of a tensor, and that nothing is read before it is asked for."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ouvert.weights import CheckpointError, Tensor, open_checkpoint


@pytest.fixture(params=["F32", "F16", "Q4_1", "Q6_K", "MXFP4"])
def tensor(request: pytest.FixtureRequest) -> Tensor:
    from ouvert.weights import encoded_bytes

    shape = (6, 512)
    data = np.random.default_rng(5).integers(0, 100, encoded_bytes(request.param, shape), np.uint8)
    return Tensor("t", shape, request.param, data)


def test_rows_are_the_rows_of_the_whole_and_no_copy(tensor: Tensor) -> None:
    part = tensor.rows(2, 5)
    assert part.shape == (3, 512)
    assert np.shares_memory(part.data, tensor.data)
    assert np.array_equal(part.decode(), tensor.decode()[2:5])
    assert tensor.rows(6, 6).decode().shape == (0, 512)


def test_rows_of_more_axes(tensor: Tensor) -> None:
    experts = Tensor("t", (2, 3, 512), tensor.encoding, tensor.data)
    assert np.array_equal(experts.rows(1, 2).decode(), experts.decode()[1:])
    assert experts.row_bytes == 3 * tensor.row_bytes


def test_taken_rows_are_in_the_order_asked_for(tensor: Tensor) -> None:
    index = np.array([5, 0, 0, 3])
    taken = tensor.take_rows(index)
    assert taken.shape == (4, 512)
    assert taken.encoding == tensor.encoding
    assert np.array_equal(taken.decode(), tensor.decode()[index])


def test_rows_that_are_not_there_are_refused(tensor: Tensor) -> None:
    for start, stop in ((-1, 2), (3, 2), (0, 7)):
        with pytest.raises(CheckpointError, match="were asked for; it has 0 to 6"):
            tensor.rows(start, stop)
    with pytest.raises(IndexError):
        tensor.take_rows(np.array([6]))


def test_a_block_is_not_cut_into_rows() -> None:
    vector = Tensor("v", (64,), "Q8_0", np.zeros(68, np.uint8))
    with pytest.raises(CheckpointError, match="multiple of 32"):
        vector.rows(0, 1)
    with pytest.raises(CheckpointError, match="is a single number"):
        Tensor("n", (), "F32", np.zeros(4, np.uint8)).rows(0, 1)
    assert Tensor("v", (64,), "F16", np.zeros(128, np.uint8)).rows(3, 5).decode().tolist() == [0, 0]


def test_a_vast_file_opens_at_once_and_costs_only_what_is_decoded(tmp_path: Path, build: Any) -> None:
    """64 GB of weights, as a file with a hole: reading them would take a minute and more memory than there is."""
    rows, width, gguf_f16 = 1 << 20, 1 << 15, 1
    path = tmp_path / "vast.gguf"
    head = build.gguf(tensors=[build.entry("w", [width, rows], gguf_f16, 0)])
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 2 * rows * width)
        file.seek(-2, 2)
        file.write(np.array([1.5], "<f2").tobytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_checkpoint(path) as checkpoint:
        last = checkpoint.tensors["w"].rows(rows - 1, rows).decode()
    assert last[0, -1] == 1.5
    assert not last[0, :-1].any()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # kB: 64 MB


def test_the_mapped_bytes_cannot_be_changed(goldens: Path) -> None:
    tensor = open_checkpoint(goldens / "small.gguf").tensors["plain.f32"]
    with pytest.raises(ValueError, match="read-only"):
        tensor.data[0] = 1


def test_released_bytes_are_read_again(tmp_path: Path, build: Any) -> None:
    weights = np.arange(1 << 18, dtype=np.float32)
    path = tmp_path / "x.gguf"
    path.write_bytes(build.gguf(tensors=[build.entry("w", [512, 512], 0, 0)], data=weights.tobytes()))
    tensor = open_checkpoint(path).tensors["w"]
    for part in (tensor, tensor.rows(3, 400), tensor.rows(5, 5), tensor.take_rows(np.array([1, 0]))):
        before = part.decode()
        part.release()
        assert np.array_equal(part.decode(), before)
    assert np.array_equal(tensor.decode().reshape(-1), weights)
