"""What `open_checkpoint` makes of a path, and of files that are something else."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ouvert.weights import CheckpointError, open_checkpoint

Write = Callable[[bytes, str], Path]
ONE = {"a": np.ones(1, np.float32)}


def test_the_content_decides_and_not_the_name(build: Any, written: Write, tmp_path: Path) -> None:
    assert open_checkpoint(written(build.gguf(), "model.safetensors")).format == "gguf"
    save_file(ONE, tmp_path / "blob")
    assert open_checkpoint(tmp_path / "blob").format == "safetensors"


@pytest.mark.parametrize("name", ["model.safetensors", "consolidated.safetensors"])
def test_the_only_safetensors_file_of_a_folder_is_opened(tmp_path: Path, name: str) -> None:
    save_file(ONE, tmp_path / name)
    (tmp_path / "config.json").write_text("{}")
    assert open_checkpoint(tmp_path).files == (tmp_path / name,)


def test_the_only_gguf_file_of_a_folder_is_opened(tmp_path: Path, build: Any) -> None:
    (tmp_path / "x.gguf").write_bytes(build.gguf())
    assert open_checkpoint(tmp_path).format == "gguf"


def test_links_are_followed_as_the_hub_cache_has_them(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    save_file(ONE, tmp_path / "blobs" / "0123")
    (tmp_path / "snapshot" / "model.safetensors").symlink_to("../blobs/0123")
    assert list(open_checkpoint(tmp_path / "snapshot").tensors) == ["a"]


def test_a_choice_is_not_made_for_the_owner(tmp_path: Path, build: Any) -> None:
    for name in ("q4.gguf", "q8.gguf"):
        (tmp_path / name).write_bytes(build.gguf())
    with pytest.raises(CheckpointError, match=r"2 models or parts .*q4.gguf, q8.gguf\. Name one"):
        open_checkpoint(tmp_path)


def test_shards_without_their_index_are_not_opened_in_part(tmp_path: Path) -> None:
    for n in (1, 2):
        save_file(ONE, tmp_path / f"model-0000{n}-of-00002.safetensors")
    with pytest.raises(CheckpointError, match="stands in another part"):
        open_checkpoint(tmp_path)


def test_an_empty_folder_and_a_missing_path_are_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="No such file"):
        open_checkpoint(tmp_path / "absent.gguf")
    for name in ("a\0b", "long" * 1000):
        with pytest.raises(CheckpointError, match="cannot be opened"):
            open_checkpoint(tmp_path / name)


class Trap:
    """What a hostile pickle does."""

    def __reduce__(self) -> tuple[object, ...]:
        return (os._exit, (1,))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_pickles_are_named_and_never_run(written: Write, protocol: int, name: str) -> None:
    path = written(pickle.dumps(Trap(), protocol), name)
    with pytest.raises(CheckpointError, match=r"a Python pickle .* can run any program"):
        open_checkpoint(path)


def test_a_zip_archive_of_pytorch_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="a zip archive, probably a PyTorch pickle"):
        open_checkpoint(path)


def test_a_folder_of_pickles_is_named(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match=r"holds pickles \(pytorch_model.bin\)"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"GG", "of an unknown kind"),
        (b"\0" * 64, "of an unknown kind"),
        (b"\0" * 8 + b"{", "of an unknown kind"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file"),
        (b"tjgg" + bytes(20), "a GGJT file"),
        (b'{"weight_map": {}}', "a JSON text"),
        (b"ordinary{text that has a brace where a header would begin", "of an unknown kind"),
    ],
)
def test_other_files_are_named(written: Write, data: bytes, what: str) -> None:
    with pytest.raises(CheckpointError, match=what):
        open_checkpoint(written(data, "model.safetensors"))


def test_links_that_lead_round_in_circles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to("model.safetensors")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        open_checkpoint(tmp_path)
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        open_checkpoint(tmp_path / "one")


def test_pipes_and_devices_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    for path in (tmp_path / "model.gguf", Path("/dev/zero")):
        with pytest.raises(CheckpointError, match="not a regular file"):
            open_checkpoint(path)


def test_tensors_outlive_the_checkpoint_they_came_from(tmp_path: Path) -> None:
    save_file(ONE, tmp_path / "x.safetensors")
    with open_checkpoint(tmp_path / "x.safetensors") as checkpoint:
        kept = checkpoint.tensors["a"]
    checkpoint.close()
    assert not checkpoint.tensors
    assert kept.decode().item() == 1
