"""Reading safetensors: files of the safetensors library, shards with an index, and files built wrong on purpose."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ouvert.weights import CheckpointError, open_checkpoint
from ouvert.weights.safetensors import MOST_AXES

Write = Callable[[bytes, str], Path]


def test_what_the_library_wrote_is_read(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.arange(5, dtype=np.float16),
        "c": np.array([[1], [-2]], np.int64),
        "d": np.array([True, False]),
        "empty": np.zeros((0, 4), np.uint8),
        "number": np.array(3.5, np.float64),
    }
    save_file(arrays, tmp_path / "x.safetensors", metadata={"format": "np", "名": "é"})
    with open_checkpoint(tmp_path / "x.safetensors") as checkpoint:
        assert checkpoint.format == "safetensors"
        assert checkpoint.metadata == {"format": "np", "名": "é"}
        assert checkpoint.tensors.keys() == arrays.keys()
        for name, array in arrays.items():
            assert checkpoint.tensors[name].shape == array.shape
            decoded = checkpoint.tensors[name].decode()
            assert decoded.dtype == (np.float32 if name == "b" else array.dtype)
            assert np.array_equal(decoded, array)


def shards(folder: Path, count: int = 3) -> dict[str, str]:
    """Shards with one number each, and what the index says of them."""
    weight_map = {}
    for n in range(count):
        name = f"model-{n + 1:05}-of-{count:05}.safetensors"
        save_file({f"t{n}": np.array([n], np.float32)}, folder / name, metadata={"format": "pt", "shard": str(n)})
        weight_map[f"t{n}"] = name
    return weight_map


def index(folder: Path, weight_map: object, text: str | None = None) -> Path:
    path = folder / "model.safetensors.index.json"
    whole = {"metadata": {"total_size": 12.0}, "weight_map": weight_map}
    path.write_text(json.dumps(whole) if text is None else text)
    return path


def test_shards_open_from_their_folder_and_from_the_index(tmp_path: Path) -> None:
    path = index(tmp_path, shards(tmp_path))
    for given in (tmp_path, path):
        with open_checkpoint(given) as checkpoint:
            assert {name: tensor.decode().item() for name, tensor in checkpoint.tensors.items()} == {
                "t0": 0,
                "t1": 1,
                "t2": 2,
            }
            assert checkpoint.path == tmp_path
            assert len(checkpoint.files) == 3
            assert checkpoint.metadata == {"format": "pt"}


def test_one_file_of_a_sharded_model_opens_by_itself(tmp_path: Path) -> None:
    index(tmp_path, weight_map := shards(tmp_path))
    assert list(open_checkpoint(tmp_path / weight_map["t1"]).tensors) == ["t1"]


def test_all_missing_shards_are_named(tmp_path: Path) -> None:
    weight_map = shards(tmp_path)
    index(tmp_path, weight_map)
    (tmp_path / weight_map["t0"]).unlink()
    (tmp_path / weight_map["t2"]).unlink()
    with pytest.raises(CheckpointError, match=r"2 of the 3 .*00001-of-00003.*, .*00003-of-00003.*Fetch them"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "where",
    ["../model.safetensors", "/etc/passwd", "sub/model.safetensors", "..", ".", "", "a\\b", "a\0b", 7, None, "\ud800"],
)
def test_an_index_that_points_outside_its_folder_is_refused(tmp_path: Path, where: object) -> None:
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "model.safetensors")
    inner = tmp_path / "inner"
    inner.mkdir()
    index(inner, {"a": where})
    with pytest.raises(CheckpointError, match="only files beside the index are read"):
        open_checkpoint(inner)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "nul", '{"weight_map": {}}', '{"weight_map": []}', "{}", '{"weight_map": {"a": "x", "a": "y"}}',
     "[" * 100_000, "\x00", '{"weight_map": ' + "9" * 5000 + "}"],
)  # fmt: skip
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CheckpointError):
        open_checkpoint(index(tmp_path, None, text))


def test_a_shard_whose_name_no_disk_takes_is_missing(tmp_path: Path) -> None:
    weight_map = shards(tmp_path) | {"a": "long" * 1000}
    with pytest.raises(CheckpointError, match="1 of the 4 files"):
        open_checkpoint(index(tmp_path, weight_map))


def test_index_and_shards_that_disagree_are_refused(tmp_path: Path) -> None:
    weight_map = shards(tmp_path)
    index(tmp_path, weight_map | {"t0": weight_map["t1"]})
    with pytest.raises(CheckpointError, match=r"disagree: 1 tensors are in none of them \(first: 't0'"):
        open_checkpoint(tmp_path)
    index(tmp_path, weight_map)
    save_file({"t1": np.zeros(1, np.float32), "t0": np.zeros(1, np.float32)}, tmp_path / weight_map["t1"])
    with pytest.raises(CheckpointError, match="tensor 't0' stands in another part"):
        open_checkpoint(tmp_path)


def test_the_files_say_which_of_them_has_a_tensor_not_the_index(tmp_path: Path) -> None:
    weight_map = shards(tmp_path)
    index(tmp_path, weight_map | {"t0": weight_map["t1"], "t1": weight_map["t0"]})
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.tensors.keys() == weight_map.keys()
    save_file({"t1": np.zeros(1, np.float32), "more": np.zeros(1, np.float32)}, tmp_path / weight_map["t1"])
    index(tmp_path, weight_map)
    with open_checkpoint(tmp_path) as checkpoint:  # whoever wants the tensors finds one left over
        assert checkpoint.tensors.keys() == {*weight_map, "more"}


def test_the_parts_of_one_model_need_no_index(tmp_path: Path) -> None:
    weight_map = shards(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink(missing_ok=True)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.tensors.keys() == weight_map.keys()
    (tmp_path / weight_map["t1"]).unlink()
    with pytest.raises(CheckpointError, match=rf"2 of 3 parts of a model, missing {weight_map['t1']}"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("wrapped", "plain"),
    [
        ("_orig_mod.model.norm", "model.norm"),
        ("module.model.norm", "model.norm"),
        ("module._orig_mod.model.layers.0._checkpoint_wrapped_module.norm", "model.layers.0.norm"),
        ("base_model.model.model.norm", "model.norm"),
    ],
)
def test_what_training_wrapped_around_a_model_is_not_part_of_its_names(
    wrapped: str, plain: str, tmp_path: Path
) -> None:
    save_file({wrapped: np.ones(2, np.float32)}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        assert {name: each.name for name, each in checkpoint.tensors.items()} == {plain: plain}


def test_names_that_would_be_alike_stay_as_they_are(tmp_path: Path) -> None:
    both = {"model.norm", "model._orig_mod.norm"}
    save_file({name: np.ones(2, np.float32) for name in both}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.tensors.keys() == both


def tensor(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def faults(build: Any) -> dict[str, tuple[bytes, str]]:
    """What is wrong: (file, what the error says)."""
    make = build.safetensors
    four = bytes(4)
    return {
        "a header longer than the file": (make({"a": tensor()}, four, length=2**40), "take 1099511627776 bytes"),
        "a header longer than any": (make("{" + " " * 10, length=100_000_001), "said to take 100000001 bytes"),
        "a header shorter than it is": (make({"a": tensor()}, four, length=9), "cannot be parsed"),
        "a header that is no JSON": (make("{not json}"), "cannot be parsed"),
        "a header that is not UTF-8": (make(b'{"\xff": 1}'), "cannot be parsed"),
        "something after the header": (make('{"a":1} x'), "cannot be parsed"),
        "braces without end": (make('{"a":' * 50_000), "cannot be parsed"),
        "brackets without end": (make('{"a":' + "[" * 100_000), "cannot be parsed"),
        "a name that stands twice": (
            make('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}'),
            "'a' stands twice",
        ),
        "a field that stands twice": (
            make('{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"1"),
            "'dtype' stands twice",
        ),
        "an entry that is no object": (make({"a": 7}), "tensor 'a': expected dtype, shape and data_offsets, found 7"),
        "an entry without shape": (make({"a": {"dtype": "U8", "data_offsets": [0, 0]}}), "expected dtype, shape"),
        "an entry with more": (make({"a": tensor(stride=[1])}, four), "expected dtype, shape and data_offsets"),
        "a dtype nobody knows": (make({"a": tensor("Q4_0")}, four), "dtype 'Q4_0' is not read here"),
        "a dtype that is a list": (make({"a": tensor(["F32"])}, four), r"dtype \['F32'\] is not read here"),
        "a negative axis": (make({"a": tensor(shape=[-1])}, four), "are not lists of counts"),
        "an axis with a fraction": (make({"a": tensor(shape=[1.0])}, four), "'1.0' in it is not an integer"),
        "an axis that is no number": (make('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', four), "'NaN'"),
        "an axis that is a truth": (make({"a": tensor(shape=[True])}, four), "are not lists of counts"),
        "an axis past 64 bits": (make({"a": tensor(shape=[2**64])}, four), "are not lists of counts"),
        "an axis of 5000 digits": (make('{"a":{"shape":[' + "9" * 5000 + "]}}"), "cannot be parsed"),
        "more axes than any": (make({"a": tensor(shape=[1] * (MOST_AXES + 1))}, four), "are not lists of counts"),
        "one offset": (make({"a": tensor(offsets=[4])}, four), "are not lists of counts"),
        "offsets the wrong way round": (make({"a": tensor(offsets=[4, 0])}, four), "data_offsets give it -4"),
        "a size unlike the shape": (make({"a": tensor(shape=[2])}, four), "takes 8 bytes, but .* give it 4"),
        "a size unlike the dtype": (make({"a": tensor("F64")}, four), "takes 8 bytes, but .* give it 4"),
        "a shape whose size overflows": (make({"a": tensor(shape=[2**62, 2**62])}, four), "'a': .*cannot be: at most"),
        "an empty tensor with a vast axis": (
            make({"a": tensor(shape=[2**61, 0], offsets=[0, 0])}),
            "tensor 'a': .*cannot be: at most",
        ),
        "a tensor beyond the file": (make({"a": tensor(offsets=[4, 8])}, four), " at bytes 4 to 8, but bytes end at 4"),
        "the weights cut off": (make({"a": tensor()}, b"123"), "lies at bytes 0 to 4, but bytes end at 3"),
        "tensors that overlap": (
            make({"a": tensor(), "b": tensor(offsets=[2, 6])}, bytes(6)),
            "tensors 'a' and 'b' overlap at byte 2",
        ),
        "two names for the same bytes": (make({"a": tensor(), "b": tensor()}, four), "tensors 'a' and 'b' overlap"),
        "a gap": (make({"a": tensor(offsets=[4, 8])}, bytes(8)), "bytes 0 to 4, before tensor 'a'"),
        "bytes after the last tensor": (make({"a": tensor()}, bytes(9)), "bytes 4 to 9, after the last tensor"),
        "metadata that are a list": (make({"__metadata__": []}), "must map strings to strings"),
        "metadata that hold a number": (make({"__metadata__": {"a": 1}}), "must map strings to strings"),
        "half a character in metadata": (make(r'{"__metadata__": {"a": "\ud800"}}'), "must map strings to strings"),
        "half a character in a name": (
            make(r'{"\udfff":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', four),
            "the name holds half a character",
        ),
    }  # fmt: skip


def test_every_wrong_file_is_refused_with_a_sentence(build: Any, written: Write) -> None:
    for what, (data, fault) in faults(build).items():
        path = written(data, "wrong.safetensors")
        with pytest.raises(CheckpointError, match=fault) as caught:
            open_checkpoint(path)
        message = str(caught.value)
        assert message.startswith(str(path)), what
        assert message.endswith("."), what
        assert len(message) < 700, what
        message.encode()
