"""Files of directions: what is written is read back, other programs' are understood, and hostile ones are refused."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest

from ouvert.inspection import InspectionError
from ouvert.inspection.directions.direction import FORMAT, Direction
from ouvert.inspection.directions.files import METADATA, read_direction, write_direction
from ouvert.weights import CheckpointError, SafetensorsWriter, open_checkpoint, write_gguf


@pytest.fixture
def direction():
    vectors = np.random.default_rng(0).standard_normal((4, 33)).astype(np.float32)
    return Direction(
        dict(enumerate(vectors)), {"format": FORMAT, "layer": 2, "model": {"name": "é", "family": "llama"}}
    )


@pytest.mark.parametrize("name", ["a.direction", "a.npz", "a.safetensors", "a.gguf"])
def test_what_is_written_is_read_back(direction, tmp_path, name):
    write_direction(direction, tmp_path / name)
    again = read_direction(tmp_path / name)
    assert sorted(again.vectors) == ([1, 2, 3] if name == "a.gguf" else [0, 1, 2, 3])
    for n, vector in again.vectors.items():
        np.testing.assert_array_equal(vector, direction.vectors[n])
    assert again.facts["format"] == FORMAT
    if name == "a.direction":
        assert again.facts == direction.facts
        assert again.layer == 2
    else:
        assert again.facts["state"] == "imported"


def test_a_control_vector_has_what_llama_cpp_and_repeng_read(direction, tmp_path):
    """general.architecture, model_hint and layer_count, and direction.N in F32 with N from 1: see the format page."""
    write_direction(direction, tmp_path / "v.gguf")
    with open_checkpoint(tmp_path / "v.gguf") as file:
        assert file.metadata["general.architecture"] == "controlvector"
        assert file.metadata["controlvector.model_hint"] == "llama"
        assert file.metadata["controlvector.layer_count"] == 3
        assert {name: (each.encoding, each.shape) for name, each in file.tensors.items()} == {
            f"direction.{n}": ("F32", (33,)) for n in (1, 2, 3)
        }


def test_a_control_vector_that_leaves_layers_out_or_at_zero(tmp_path):
    one = np.ones(8, np.float32)
    write_gguf(
        tmp_path / "v.gguf",
        {"general.architecture": "controlvector", "controlvector.model_hint": "mistral"},
        {"direction.5": one, "direction.7": np.zeros(8, np.float32)},
    )
    read = read_direction(tmp_path / "v.gguf")
    assert [*read.vectors] == [5]
    assert read.facts["model_hint"] == "mistral"
    assert read.layer == 5


def test_layer_0_cannot_go_to_llama_cpp(tmp_path):
    with pytest.raises(InspectionError, match=r"of layer 0 only, and llama.cpp adds none there"):
        write_direction(Direction({0: np.ones(4, np.float32)}), tmp_path / "v.gguf")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["a.pt", "a.pkl", "a.bin", "a.npy", "a"])
def test_no_pickle_is_ever_written(direction, tmp_path, name):
    with pytest.raises(InspectionError, match=r"which can run any program|cannot be written as"):
        write_direction(direction, tmp_path / name)
    assert not [*tmp_path.iterdir()]


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def torch_file(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))


@pytest.mark.parametrize("name", ["v.pt", "v.pth", "v.pkl", "v.npz", "v.safetensors", "v.direction", "v.gguf", "v"])
def test_a_pickle_is_refused_by_name_and_by_content_and_never_run(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InspectionError, match=rf"{name}: a pickle .*safetensors, .npz or a GGUF"):
        read_direction(tmp_path / name)
    torch_file(tmp_path / name)
    with pytest.raises(InspectionError, match=rf"{name}: a pickle"):
        read_direction(tmp_path / name)


def test_an_object_array_is_a_pickle_too(tmp_path):
    np.savez(tmp_path / "v.npz", **{"layer.1": np.array([Bomb()], dtype=object)})
    with pytest.raises(InspectionError, match=r"not an .npz file of plain arrays .* are pickles"):
        read_direction(tmp_path / "v.npz")


def npz_that_unpacks_to(path, size):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({size // 4},), }}".encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("layer.1.npy", "w") as file:
        file.write(data)
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))


def test_what_unpacks_to_more_than_a_direction_takes_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("ouvert.inspection.directions.files.MOST_BYTES", 4 << 20)
    npz_that_unpacks_to(tmp_path / "v.npz", 5 << 20)
    assert (tmp_path / "v.npz").stat().st_size < 1 << 20
    with pytest.raises(InspectionError, match="made to fill the memory"):
        read_direction(tmp_path / "v.npz")


def test_an_array_that_claims_to_be_endless_is_refused(tmp_path):
    data = io.BytesIO()
    np.save(data, np.ones(4, np.float32))
    claimed = data.getvalue().replace(b"(4,), ", b"(9999999999999,), ")[: len(data.getvalue())]
    with zipfile.ZipFile(tmp_path / "v.npz", "w") as archive:
        archive.writestr("layer.1.npy", claimed)
    with pytest.raises(InspectionError, match=r"not an .npz file of plain arrays"):
        read_direction(tmp_path / "v.npz")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"layer.1": np.array([1, np.nan])}, "expected finite float32"),
        ({"layer.1": np.array([1e300, 1.0])}, "expected finite float32"),
        ({"layer.1": np.zeros(4)}, "not all 0"),
        ({"layer.1": np.ones(4), "layer.2": np.ones(5)}, "expected 1 to 1024 of one width"),
        ({"layer.1": np.ones((4, 4))}, "expected floats in one axis"),
        ({"layer.1": np.ones(4, int)}, "expected floats in one axis"),
        ({"layer.1": np.ones(70000)}, "expected floats in one axis"),
        ({"weights": np.ones(4)}, "expected each layer once, as layer.N or direction.N"),
        ({"layer.1": np.ones(4), "direction.1": np.ones(4)}, "expected each layer once"),
        ({"layer.2000": np.ones(4)}, "layers from 0 to 1023"),
        ({}, "expected 1 to 1024"),
    ],
)
def test_arrays_that_are_no_direction_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(InspectionError, match=message):
        read_direction(tmp_path / "v.npz")


@pytest.mark.parametrize(
    ("metadata", "tensors", "message"),
    [
        ({"general.architecture": "llama"}, {"direction.1": (4,)}, "of the architecture 'llama', expected 'controlv"),
        ({}, {"direction.1": (4,)}, "of the architecture 'None'"),
        ({"general.architecture": "controlvector"}, {"direction.0": (4,)}, "direction.N with N from 1"),
        ({"general.architecture": "controlvector"}, {"blk.1": (4,)}, "direction.N with N from 1"),
        ({"general.architecture": "controlvector"}, {"direction.1": (4, 2)}, "expected one axis"),
        ({"general.architecture": "controlvector"}, {}, "0 tensors, expected 1 to 1024"),
    ],
)
def test_gguf_files_that_are_no_control_vectors_are_refused(tmp_path, metadata, tensors, message):
    arrays = {name: np.ones(shape, np.float32) for name, shape in tensors.items()}
    write_gguf(tmp_path / "v.gguf", metadata, arrays)
    with pytest.raises(InspectionError, match=message):
        read_direction(tmp_path / "v.gguf")


def test_what_a_file_says_of_itself_is_checked(tmp_path, direction):
    for text, message in (
        ("{", "not a JSON object of the format"),
        ("[" * 100000, "not a JSON object"),
        (json.dumps({"format": "ouvert.direction/9"}), "found 'ouvert.direction/9'"),
        (json.dumps({"format": FORMAT, "x": "y" * (1 << 20)}), "not a JSON object"),
    ):
        with SafetensorsWriter(tmp_path / "v.direction", {"layer.1": ("F32", (4,))}, {METADATA: text}) as writer:
            writer.write("layer.1", np.ones(4, np.float32))
        with pytest.raises(InspectionError, match=message):
            read_direction(tmp_path / "v.direction")
    write_direction(direction, tmp_path / "plain.safetensors")
    with pytest.raises(InspectionError, match="expected a direction that Ouvert wrote"):
        read_direction(tmp_path / "plain.safetensors", ours=True)


def test_cut_and_spoilt_files_end_in_a_sentence(tmp_path, direction):
    """Every byte of the head changed, and every length: never another exception, never a wrong direction unnoticed."""
    for name in ("v.direction", "v.gguf", "v.npz"):
        write_direction(direction, tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        random = np.random.default_rng(1)
        for n in range(120):
            spoilt = bytearray(whole)
            if n % 2:
                spoilt[int(random.integers(0, min(400, len(whole))))] ^= 1 << int(random.integers(0, 8))
            else:
                del spoilt[int(random.integers(0, len(whole))) :]
            (tmp_path / name).write_bytes(spoilt)
            try:
                read_direction(tmp_path / name)
            except (InspectionError, CheckpointError) as problem:
                assert str(problem)  # noqa: PT017 - some changes are harmless


def test_files_that_are_none(tmp_path):
    with pytest.raises(InspectionError, match="there is no such file"):
        read_direction(tmp_path / "absent.direction")
    with pytest.raises(InspectionError, match="there is no such file"):
        read_direction(tmp_path)


@pytest.mark.parametrize("more", ['"x": NaN', '"x": -Infinity', '"x": "\\ud800"'])
def test_facts_that_no_client_could_be_sent_are_refused(tmp_path, more):
    text = f'{{"format": "{FORMAT}", {more}}}'
    with SafetensorsWriter(tmp_path / "a.direction", {"layer.1": ("F32", (2,))}, {METADATA: text}) as writer:
        writer.write("layer.1", np.ones(2, np.float32))
    with pytest.raises(InspectionError, match="not a JSON object"):
        read_direction(tmp_path / "a.direction")


def test_a_chosen_layer_that_is_no_number_is_not_taken_for_one():
    vectors = {n: np.ones(2, np.float32) for n in (1, 2, 3)}
    assert Direction(vectors, {"layer": True}).layer == 2
    assert Direction(vectors, {"layer": 1}).layer == 1


def test_a_member_that_is_no_array_or_is_encrypted_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("layer.3", b"hello")
    with pytest.raises(InspectionError, match="is no array"):
        read_direction(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", **{"layer.3": np.ones(2, np.float32)})
    data = bytearray((tmp_path / "b.npz").read_bytes())
    data[6] |= 1  # in the member's own header and in the directory: encrypted
    data[data.find(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.npz").write_bytes(data)
    with pytest.raises(InspectionError, match=r"not an \.npz file"):
        read_direction(tmp_path / "b.npz")
