"""Reading GGUF: a file that the `gguf` package wrote, and files built wrong on purpose."""

import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from ouvert.weights import CheckpointError, open_checkpoint

Write = Callable[[bytes, str], Path]


def test_every_type_of_metadata_is_read(goldens: Path) -> None:
    with open_checkpoint(goldens / "small.gguf") as checkpoint:
        metadata = dict(checkpoint.metadata)
    assert "gguf=" in metadata.pop("golden.versions")
    assert metadata == {
        "general.architecture": "llama",
        "number.u8": 255,
        "number.i8": -128,
        "number.u16": 65535,
        "number.i16": -32768,
        "number.u32": 2**32 - 1,
        "number.i32": -(2**31),
        "number.u64": 2**64 - 1,
        "number.i64": -(2**63),
        "number.f32": float(np.float32(0.1)),
        "number.f64": 0.1,
        "truth": True,
        "texts": ["", "Ġa", "日本", "🙂", "a\nb"],
        "integers": [-1, 0, 1],
        "floats": [0.5, -2.0],
        "truths": [True, False],
        "nested": [[1, 2], [3]],
    }
    assert metadata["truth"] is True
    assert metadata["truths"][0] is True


def test_shapes_are_turned_round_and_tensors_are_where_they_should_be(goldens: Path) -> None:
    with open_checkpoint(goldens / "small.gguf") as checkpoint:
        assert checkpoint.format == "gguf"
        assert checkpoint.files == (goldens / "small.gguf",)
        tensors = checkpoint.tensors
        assert np.array_equal(tensors["plain.f32"].decode(), np.arange(6, dtype=np.float32).reshape(2, 3))
        assert np.array_equal(tensors["plain.f16"].decode(), np.arange(6, dtype=np.float32).reshape(3, 2))
        assert np.array_equal(tensors["plain.i32"].decode(), np.arange(-3, 3, dtype=np.int32))
        for name, tensor in tensors.items():
            if name.startswith("quantised."):
                assert tensor.encoding == name.removeprefix("quantised.")
                assert tensor.shape[0] == 3
                assert tensor.decode().dtype == np.float32


def test_texts_that_are_no_utf8_do_not_close_the_file(build: Any, written: Write) -> None:
    """A name in Latin-1 or a path of a Windows code page changes no number; a token's bytes are kept."""
    tokens = struct.pack("<IQ", 8, 2) + build.text(b"\xff\xfe") + build.text("é".encode())
    content = build.gguf([build.key("general.author", 8, build.text(b"M\xfcller")), build.key("tokens", 9, tokens)])
    with open_checkpoint(written(content, "latin.gguf")) as checkpoint:
        assert checkpoint.metadata["general.author"] == "M\ufffdller"
        texts = checkpoint.metadata["tokens"]
    assert [text.encode(errors="surrogateescape") for text in texts] == [b"\xff\xfe", "é".encode()]


def test_version_2_reads_like_version_3(goldens: Path, written: Write) -> None:
    data = bytearray((goldens / "small.gguf").read_bytes())
    struct.pack_into("<I", data, 4, 2)
    with open_checkpoint(written(bytes(data), "2.gguf")) as old, open_checkpoint(goldens / "small.gguf") as new:
        assert old.metadata == new.metadata
        assert old.tensors.keys() == new.tensors.keys()
        assert all(np.array_equal(old.tensors[name].data, new.tensors[name].data) for name in new.tensors)


def test_a_stated_alignment_is_followed(build: Any, written: Write) -> None:
    keys = [build.key("general.alignment", 4, struct.pack("<I", 128))]
    tensors = [build.entry("a", [2], 0, 0), build.entry("b", [1], 0, 128)]
    data = np.array([1, 2], "<f4").tobytes().ljust(128, b"\0") + np.array([3], "<f4").tobytes()
    path = written(build.gguf(keys, tensors, data, alignment=128), "a.gguf")
    with open_checkpoint(path) as checkpoint:
        assert [tensor.decode().tolist() for tensor in checkpoint.tensors.values()] == [[1, 2], [3]]


def test_large_vocabularies_are_read_in_few_calls_a_word(build: Any, written: Write) -> None:
    words = [f"Ġword{n}" for n in range(150_000)]
    arrays = {
        "tokenizer.ggml.tokens": struct.pack("<IQ", 8, len(words)) + b"".join(map(build.text, words)),
        "tokenizer.ggml.merges": struct.pack("<IQ", 8, len(words)) + b"".join(map(build.text, words)),
        "tokenizer.ggml.token_type": struct.pack("<IQ", 5, len(words)) + np.ones(len(words), "<i4").tobytes(),
    }
    path = written(build.gguf([build.key(name, 9, value) for name, value in arrays.items()]), "v.gguf")
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        with open_checkpoint(path) as checkpoint:
            pass
    finally:
        sys.setprofile(None)
    assert calls < 4 * 2 * len(words), "a word costs so few calls that a vocabulary is read in a fraction of a second"
    assert checkpoint.metadata["tokenizer.ggml.tokens"] == words
    assert checkpoint.metadata["tokenizer.ggml.token_type"] == [1] * len(words)


def split(folder: Path, build: Any, count: int = 3, **changes: Any) -> list[Path]:
    """A split model: one number a file, named after the file's number."""
    paths = []
    for n in range(count):
        values = {"split.no": n, "split.count": count, "split.tensors.count": count} | changes.get(f"keys{n}", {})
        keys = [build.key(name, 4, struct.pack("<I", value)) for name, value in values.items()]
        keys.append(build.key("general.name", 8, build.text(f"file {n}")))
        tensor = build.entry(changes.get(f"name{n}", f"t{n}"), [1], 0, 0)
        paths.append(folder / f"big-{n + 1:05}-of-{count:05}.gguf")
        paths[-1].write_bytes(build.gguf(keys, [tensor], np.array([n], "<f4").tobytes()))
    return paths


@pytest.mark.parametrize("opened", [0, 1, 2])
def test_a_split_model_opens_from_any_of_its_files(tmp_path: Path, build: Any, opened: int) -> None:
    paths = split(tmp_path, build)
    with open_checkpoint(paths[opened]) as checkpoint:
        assert checkpoint.files == tuple(paths)
        assert checkpoint.metadata["general.name"] == "file 0"
        assert {name: tensor.decode().item() for name, tensor in checkpoint.tensors.items()} == {
            "t0": 0,
            "t1": 1,
            "t2": 2,
        }


def test_a_folder_with_a_split_model_opens(tmp_path: Path, build: Any) -> None:
    split(tmp_path, build)
    assert len(open_checkpoint(tmp_path).tensors) == 3


def test_all_missing_files_of_a_split_model_are_named(tmp_path: Path, build: Any) -> None:
    paths = split(tmp_path, build, count=4)
    paths[1].unlink()
    paths[3].unlink()
    with pytest.raises(
        CheckpointError, match=r"2 of the 4 .* big-00002-of-00004.gguf, big-00004-of-00004.gguf\. Fetch"
    ):
        open_checkpoint(paths[0])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"keys1": {"split.no": 2}}, "it says that it is part 2 of 3"),
        ({"keys2": {"split.count": 4}}, "it says that it is part 2 of 4"),
        ({"name1": "t0"}, "'t0' is in an earlier file"),
        ({"keys0": {"split.tensors.count": 5}}, "have 3 tensors together, but the first says 5"),
        ({"keys0": {"split.count": 65535}}, "cannot be found"),
    ],
)
def test_a_split_model_that_does_not_fit_together_is_refused(
    tmp_path: Path, build: Any, changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(CheckpointError, match=fault):
        open_checkpoint(split(tmp_path, build, **changes)[0])


def test_a_part_that_was_renamed_is_refused_with_the_remedy(tmp_path: Path, build: Any) -> None:
    renamed = split(tmp_path, build)[0].rename(tmp_path / "model.gguf")
    with pytest.raises(CheckpointError, match="Give the files the names they were published with"):
        open_checkpoint(renamed)


# What is wrong: (file, what the error says).
def faults_of_metadata(build: Any) -> dict[str, tuple[bytes, str]]:
    array, u32 = 9, 4
    huge = 2**63 - 1
    deep = struct.pack("<IQ", array, 1) * 20 + struct.pack("<IQ", u32, 0)
    return {
        "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        "version 1": (build.gguf(version=1), "the version is 1"),
        "version 4": (build.gguf(version=4), "the version is 4"),
        "cut off in the fixed part": (b"GGUF\3\0\0\0", "the fixed part of the header takes 24 bytes"),
        "keys beyond the file": (build.gguf(num_keys=huge), "metadata of 9223372036854775807 keys takes"),
        "tensors beyond the file": (build.gguf(num_tensors=huge), "a table of 9223372036854775807 tensors takes"),
        "a key that is cut off": (build.gguf([struct.pack("<Q", huge) + bytes(13)]), "a metadata key takes"),
        "a key that is not UTF-8": (build.gguf([build.key(b"\xff", u32, bytes(4))]), "a metadata key is not UTF-8"),
        "a type of value that does not exist": (build.gguf([build.key("a", 13, bytes(8))]), "is of type 13"),
        "a truth that is 2": (build.gguf([build.key("a", 7, b"\2")]), "a truth value is 0 or 1"),
        "truths with a 3": (build.gguf([build.key("a", array, struct.pack("<IQ", 7, 2) + b"\1\3")]), "has 3"),
        "a key that stands twice": (build.gguf([build.key("a", u32, bytes(4))] * 2), "'a' stands a second time"),
        "numbers beyond the file": (
            build.gguf([build.key("a", array, struct.pack("<IQ", u32, huge))]),
            "the value of 'a' takes 36893488147419103228 bytes",
        ),
        "texts beyond the file": (build.gguf([build.key("a", array, struct.pack("<IQ", 8, huge))]), "'a' takes"),
        "a text in an array beyond the file": (
            build.gguf([build.key("a", array, struct.pack("<IQ", 8, 2) + build.text("b") + struct.pack("<Q", huge))]),
            "string 1 of 2 of the value of 'a' reaches past the end",
        ),
        "arrays beyond the file": (build.gguf([build.key("a", array, struct.pack("<IQ", array, huge))]), "'a' takes"),
        "arrays nested without end": (build.gguf([build.key("a", array, deep)]), "nested more than 3 deep"),
        "an alignment of zero": (build.gguf([build.key("general.alignment", u32, bytes(4))]), "general.alignment is 0"),
        "an alignment of 48": (
            build.gguf([build.key("general.alignment", u32, struct.pack("<I", 48))]),
            "general.alignment is 48, expected a power of two",
        ),
        "an alignment that is a text": (
            build.gguf([build.key("general.alignment", 8, build.text("32"))]),
            "general.alignment is '32'",
        ),
    }  # fmt: skip


def faults_of_the_table(build: Any) -> dict[str, tuple[bytes, str]]:
    f32 = 0
    return {
        "a name that is not UTF-8": (build.gguf(tensors=[build.entry(b"\xff", [1], f32, 0)]), "name is not UTF-8"),
        "a name that stands twice": (
            build.gguf(tensors=[build.entry("a", [1], f32, 0), build.entry("a", [1], f32, 32)], data=bytes(64)),
            "tensor 'a' stands a second time",
        ),
        "five axes": (build.gguf(tensors=[build.entry("a", [1] * 5, f32, 0)], data=bytes(4)), "'a' has 5 axes"),
        "more axes than bytes": (build.gguf(tensors=[build.text("a") + struct.pack("<IQQ", 2**31, 1, 1)]), "axes"),
        "an encoding we do not read": (build.gguf(tensors=[build.entry("a", [256], 16, 0)]), "encoded as IQ2_XXS"),
        "an encoding nobody knows": (build.gguf(tensors=[build.entry("a", [1], 99, 0)]), "encoded as number 99"),
        "a row that is no whole number of blocks": (
            build.gguf(tensors=[build.entry("a", [33], 2, 0)], data=bytes(64)),
            "tensor 'a': .*must be a multiple of 32",
        ),
    }  # fmt: skip


def faults_of_places(build: Any) -> dict[str, tuple[bytes, str]]:
    f32 = 0
    return {
        "a place that is not aligned": (
            build.gguf(tensors=[build.entry("a", [1], f32, 4)], data=bytes(64)),
            "starts at 4, which is not a multiple of the alignment 32",
        ),
        "a tensor beyond the file": (
            build.gguf(tensors=[build.entry("a", [9], f32, 0)], data=bytes(32)),
            "'a' lies at bytes 0 to 36, but bytes end at 32",
        ),
        "a shape whose size overflows": (
            build.gguf(tensors=[build.entry("a", [2**62, 2**62], f32, 0)], data=bytes(32)),
            "tensor 'a': .*cannot be: at most",
        ),
        "an empty tensor with a vast axis": (
            build.gguf(tensors=[build.entry("a", [2**61, 0], f32, 0)], data=bytes(32)),
            "tensor 'a': .*cannot be: at most",
        ),
        "a place that overflows": (
            build.gguf(tensors=[build.entry("a", [1], f32, 2**64 - 32)], data=bytes(32)),
            "'a' lies at bytes 18446744073709551584 to",
        ),
        "tensors that overlap": (
            build.gguf(tensors=[build.entry("a", [9], f32, 0), build.entry("b", [1], f32, 32)], data=bytes(64)),
            "tensors 'a' and 'b' overlap at byte 32",
        ),
        "a tensor within another": (
            build.gguf(
                tensors=[build.entry("a", [64], f32, 0), build.entry("b", [1], f32, 96)],
                data=bytes(256),
            ),
            "tensors 'a' and 'b' overlap",
        ),
        "the weights cut off": (build.gguf(tensors=[build.entry("a", [9], f32, 0)], data=bytes(35)), "bytes end at 35"),
    }  # fmt: skip


def test_every_wrong_file_is_refused_with_a_sentence(build: Any, written: Write) -> None:
    for what, (data, fault) in {
        **faults_of_metadata(build),
        **faults_of_the_table(build),
        **faults_of_places(build),
    }.items():
        path = written(data, "wrong.gguf")
        with pytest.raises(CheckpointError, match=fault) as caught:
            open_checkpoint(path)
        message = str(caught.value)
        assert message.startswith(str(path)), what
        assert message.endswith("."), what
        assert len(message) < 700, what


def test_a_header_larger_than_any_header_is_refused_before_it_is_read(build: Any, tmp_path: Path) -> None:
    path = tmp_path / "vast.gguf"
    count = 2**31
    with path.open("wb") as file:
        file.write(build.gguf([build.key("a", 9, struct.pack("<IQ", 0, count))]))
        file.truncate(count + 1000)  # sparse: takes no room
    with pytest.raises(CheckpointError, match="'a' takes 2147483648 bytes, but a header ends before 100000000"):
        open_checkpoint(path)


def test_the_real_small_model_opens_and_decodes(smollm2: Path) -> None:
    with open_checkpoint(smollm2) as checkpoint:
        assert len(checkpoint.tensors) == 272
        assert {tensor.encoding for tensor in checkpoint.tensors.values()} == {"F32", "Q4_1", "Q8_0"}
        assert len(checkpoint.metadata["tokenizer.ggml.tokens"]) == 49152
        embedding = checkpoint.tensors["token_embd.weight"]
        assert embedding.shape == (49152, 576)
        assert 0.05 < embedding.rows(0, 1000).decode().std() < 0.5


def test_goldens_were_made_with_named_versions(goldens: Path) -> None:
    with open_checkpoint(goldens / "decoded.safetensors") as checkpoint:
        assert {"gguf", "torch", "numpy", "safetensors"} == checkpoint.metadata.keys()
        assert checkpoint.tensors.keys() == load_file(goldens / "decoded.safetensors").keys()
