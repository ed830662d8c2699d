"""Files that are on this machine already: used in place, linked, or copied."""

import os
from pathlib import Path

import pytest

from ouvert.store import Store, StoreError

from .bodies import folder_model, gguf


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "Mine.Q4_0.gguf"
    path.write_bytes(gguf(900))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "my-model"
    path.mkdir()
    for name, content in folder_model().items():
        if "/" not in name:
            (path / name).write_bytes(content)
    return path


def test_a_path_works_without_the_store(
    store: Store, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.resolve(str(file)).path == file
    assert store.resolve(str(folder)).path == folder
    monkeypatch.chdir(file.parent)
    assert store.resolve("./my-model").path == folder
    assert store.resolve("my-model").path == folder
    assert store.resolve(file.name).path == file
    assert store.resolve(file.name).digest is None
    assert not store.home.exists()


def test_a_file_is_linked_not_copied(store: Store, file: Path) -> None:
    linked = store.pull(str(file))
    assert (linked.name, linked.path, linked.linked, linked.size) == ("Mine.Q4_0", file, True, 900)
    assert not store.blobs.folder.exists()
    assert store.resolve("Mine.Q4_0") == linked
    assert store.resolve(str(file)) == linked  # by its path too, so its digest is known
    assert store.remove("Mine.Q4_0").freed == 0
    assert file.exists()


def test_a_folder_is_linked_with_the_files_that_matter(store: Store, folder: Path) -> None:
    linked = store.pull(str(folder), name="mine")
    assert linked.path == folder
    assert "README.md" not in linked.digests
    assert "model-00002-of-00002.safetensors" in linked.digests


def test_a_copy_stands_on_its_own(store: Store, folder: Path, file: Path) -> None:
    for source in (file, folder):
        copied = store.pull(str(source), copy=True)
        assert not copied.linked
        assert store.home in copied.path.parents
    for path in folder.iterdir():
        path.unlink()
    assert (store.resolve("my-model").path / "config.json").exists()
    store.verify("my-model")


def test_a_shard_or_an_odd_name_leads_to_what_can_be_opened(store: Store, folder: Path) -> None:
    assert store.resolve(str(folder / "model-00002-of-00002.safetensors")).path == folder
    assert store.resolve(str(folder / "consolidated.safetensors")).path == folder / "consolidated.safetensors"


def test_a_linked_file_that_changed_or_went_is_said(store: Store, file: Path) -> None:
    store.pull(str(file))
    file.write_bytes(gguf(900, seed=1))
    os.utime(file, ns=(1, 1))
    with pytest.raises(StoreError, match=r"was changed after it was put into the store: `ouvert pull .*` takes note"):
        store.resolve("Mine.Q4_0")
    store.pull(str(file))
    assert store.verify("Mine.Q4_0").path == file
    file.unlink()
    with pytest.raises(StoreError, match=r"Mine\.Q4_0\.gguf is gone from"):
        store.resolve("Mine.Q4_0")


def test_parts_of_a_split_model_belong_together(store: Store, tmp_path: Path) -> None:
    for n in (1, 2):
        (tmp_path / f"m-0000{n}-of-00002.gguf").write_bytes(gguf(300, n))
    linked = store.pull(str(tmp_path / "m-00001-of-00002.gguf"), name="m")
    assert linked.path.name == "m-00001-of-00002.gguf"
    assert len(linked.files) == 2
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(StoreError, match=r"m\.gguf should have 2 parts, but 1 are there"):
        store.pull(str(tmp_path / "m-00001-of-00002.gguf"), name="other")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"pytorch_model.bin": b"\x80\x04"}, r"only pickles \(pytorch_model\.bin\), which may run code"),
        (
            {"notes.txt": b""},
            r"holds no weights that can be read: expected \*\.safetensors with config\.json, or \*\.gguf",
        ),
        ({"a.gguf": gguf(9), "b.gguf": gguf(9)}, r"holds 2 models: say which"),
        ({"a.gguf": b"\x80\x04pickle in disguise"}, r"a\.gguf of .* is not what its name says: it begins with"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(
    store: Store, tmp_path: Path, files: dict[str, bytes], sentence: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    for attempt in (store.pull, store.resolve):
        with pytest.raises(StoreError, match=sentence):
            attempt(str(folder))
    assert store.names() == ()


def test_what_is_not_there_is_said(store: Store) -> None:
    with pytest.raises(StoreError, match=r"there is no such file or folder"):
        store.resolve("./nothing-here")
    with pytest.raises(StoreError, match=r"there is no such file or folder"):
        store.pull("./nothing-here.gguf")
