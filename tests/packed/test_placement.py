"""The rule of which parameter is placed how."""

import numpy as np
import pytest

from ouvert import kernels
from ouvert.kernels import packing
from ouvert.models import Parameter
from ouvert.models.sources import Plain
from ouvert.packed import InMemory, open_model, placements
from ouvert.packed.placement import placed_chunks
from ouvert.weights import SafetensorsWriter, open_checkpoint


@pytest.fixture(scope="module")
def opened(smollm2):
    with open_model(smollm2) as files:
        yield files.parameters


def test_matrices_are_packed_and_vectors_are_not(opened):
    entries = placements(opened)
    assert "unembedding" not in entries  # tied: the same bytes as the embedding
    assert entries["layers.0.q"].layout == "Q4_1"
    assert entries["layers.0.attention_norm"].layout is None


def test_small_chunks_give_the_same_bytes(opened, monkeypatch):
    parameter = next(each for each in opened if each.name == "layers.0.down")
    whole = b"".join(piece.tobytes() for piece, _, _ in placed_chunks(parameter, 1))
    monkeypatch.setattr("ouvert.packed.placement.CHUNK_BYTES", 10_000)
    parts = [piece.tobytes() for piece, _, _ in placed_chunks(parameter, 2)]
    assert len(parts) > 10
    assert b"".join(parts) == whole


def test_a_matrix_whose_encoding_has_no_layout_is_packed_as_float32(tmp_path):
    path = tmp_path / "model.safetensors"
    values = np.random.default_rng(0).standard_normal((40, 64))
    with SafetensorsWriter(path, {"a": ("F64", values.shape)}) as writer:
        writer.write("a", values)
    with open_checkpoint(path) as checkpoint:
        parameter = Parameter("a", "linear", values.shape, Plain(checkpoint.tensors["a"]))
        placed = InMemory().place(parameter)
    assert isinstance(placed, kernels.Packed)
    assert placed.layout == "F32"
    np.testing.assert_array_equal(packing.unpack("F32", placed.data, 40, 64), values.astype(np.float32))
