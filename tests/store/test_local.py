"""Files that are on this machine already: used in place, linked, or copied."""

import os
from pathlib import Path

import pytest

from ouvert.store import Store, StoreError, remembered
from ouvert.store.selection import choose_files

from .bodies import folder_model, gguf, safetensors
from .test_hub import Watcher


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


def test_linked_weights_replaced_in_place_with_the_same_size_and_time_are_said(store: Store, file: Path) -> None:
    os.utime(file, ns=(5, 5))
    linked = store.pull(str(file))
    assert store.weights_digest(linked) == linked.digest
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(5, 5))
    with pytest.raises(StoreError, match=r"its weights in .* were changed after it was put into the store.*takes note"):
        store.weights_digest(store.resolve("Mine.Q4_0"))
    again = store.pull(str(file))
    assert store.weights_digest(again) == again.digest != linked.digest


def test_a_linked_file_that_changed_or_went_is_said(store: Store, file: Path) -> None:
    store.pull(str(file))
    file.write_bytes(gguf(900, seed=1))
    os.utime(file, ns=(1, 1))
    with pytest.raises(StoreError, match=r"was changed after it was put into the store: `ouvert pull .*` takes note"):
        store.resolve("Mine.Q4_0")
    store.pull(str(file))
    assert store.verify("Mine.Q4_0").path == file
    file.unlink()
    with pytest.raises(
        StoreError, match=r"Mine\.Q4_0\.gguf is gone from .*: put it back, or .* where it is now, or .*`ouvert remove"
    ):
        store.resolve("Mine.Q4_0")


def test_parts_of_a_split_model_belong_together(store: Store, tmp_path: Path) -> None:
    for n in (1, 2):
        (tmp_path / f"m-0000{n}-of-00002.gguf").write_bytes(gguf(300, n))
    linked = store.pull(str(tmp_path / "m-00001-of-00002.gguf"), name="m")
    assert linked.path.name == "m-00001-of-00002.gguf"
    assert len(linked.files) == 2
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(StoreError, match=r"is one of 2 files .* 1 of them are missing: m-00002-of-00002\.gguf\. Fetch"):
        store.pull(str(tmp_path / "m-00001-of-00002.gguf"), name="other")


@pytest.mark.parametrize("name", ["M.GGUF", "sha256-74701a8c35f6", "ggml-model.bin", "model.safetensors"])
def test_what_begins_as_gguf_is_gguf_whatever_it_is_called(store: Store, tmp_path: Path, name: str) -> None:
    """A blob of another program's store, a name in capitals, an old ending: the content decides."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_bytes(gguf(700))
    (folder / "notes.txt").write_bytes(b"GG")
    opened = folder if name == "model.safetensors" else folder / name
    assert store.resolve(str(folder)).path == opened
    assert store.resolve(str(folder / name)).path == opened
    for copy in (False, True):
        pulled = store.pull(str(folder), name=f"up-{copy}", copy=copy)
        assert list(pulled.digests) == [name]
        assert store.resolve(pulled.name).digest == pulled.digest
        store.verify(pulled.name)


def test_safetensors_asked_for_by_another_name_are_taken(store: Store, tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(safetensors(300))
    (tmp_path / "state").write_bytes(safetensors(300))
    assert store.resolve(str(tmp_path / "blob")).path == tmp_path / "blob"
    with pytest.raises(StoreError, match="holds no weights that can be read"):
        store.resolve(str(tmp_path))


@pytest.mark.parametrize(
    "neighbours",
    [
        {"other-00001-of-00003.gguf": b"GGUF"},
        {"good-F16-00002-of-00002.gguf": b"GGUF"},
        {"damaged.gguf": b"<html>404</html>"},
        {"good.imatrix.gguf": gguf(30), "mmproj-good.gguf": gguf(30), "mtp-good.gguf": gguf(30)},
        {"good-LoRA.gguf": gguf(30), "ggml-vocab-llama-vocab.gguf": gguf(30)},
        {"adapter_config.json": b"{}"},
    ],
)
def test_what_lies_beside_a_model_is_no_fault_of_its(
    store: Store, tmp_path: Path, neighbours: dict[str, bytes]
) -> None:
    (tmp_path / "good.gguf").write_bytes(gguf(400))
    for name, content in neighbours.items():
        (tmp_path / name).write_bytes(content)
    assert store.resolve(str(tmp_path / "good.gguf")).path == tmp_path / "good.gguf"
    assert store.resolve(str(tmp_path)).path == tmp_path / "good.gguf"


def test_a_whole_model_and_the_parts_of_another_are_told_apart(store: Store, tmp_path: Path) -> None:
    for name in ("m-q4_k_m.gguf", "m-q4_k_m-00001-of-00002.gguf", "m-q4_k_m-00002-of-00002.gguf"):
        (tmp_path / name).write_bytes(gguf(100))
    with pytest.raises(
        StoreError, match=r"holds 2 models.*m-q4_k_m-00001-of-00002\.gguf \(200 bytes\), m-q4_k_m\.gguf"
    ):
        store.resolve(str(tmp_path))
    assert store.resolve(str(tmp_path / "m-q4_k_m.gguf")).size == 100
    assert store.resolve(str(tmp_path / "m-q4_k_m-00002-of-00002.gguf")).size == 200


def test_a_sidecar_that_is_named_outright_is_opened_and_says_itself_what_it_is(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mmproj-F16.gguf").write_bytes(gguf(100))
    assert store.resolve(str(tmp_path / "mmproj-F16.gguf")).path == tmp_path / "mmproj-F16.gguf"
    with pytest.raises(StoreError, match="holds no weights that can be read"):
        store.resolve(str(tmp_path))


def test_an_adapter_is_refused_by_name_beside_a_base_and_alone(store: Store, folder: Path, tmp_path: Path) -> None:
    settings = b'{"peft_type": "LORA", "base_model_name_or_path": "someone/base"}'
    (folder / "adapter_config.json").write_bytes(settings)
    (folder / "adapter_model.safetensors").write_bytes(safetensors(90))
    for path in (folder, folder / "model-00001-of-00002.safetensors"):
        with pytest.raises(
            StoreError, match=r"holds an adapter for someone/base .* beside the weights.*adapter import FOLDER"
        ):
            store.resolve(str(path))
    with pytest.raises(StoreError, match="adapter for someone/base"):
        store.pull(str(folder), name="mine")
    (alone := tmp_path / "alone").mkdir()
    (alone / "adapter_config.json").write_bytes(settings)
    (alone / "adapter_model.safetensors").write_bytes(safetensors(90))
    with pytest.raises(StoreError, match="holds a LoRA adapter for someone/base, not a model"):
        store.resolve(str(alone))


def test_an_adapter_is_refused_before_anything_of_it_is_fetched() -> None:
    names = dict.fromkeys(["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"], 10**9)
    with pytest.raises(StoreError, match="hf:x holds a LoRA adapter, not a model"):
        choose_files(names, None, "hf:x")


def test_weights_of_an_adapter_that_nothing_applies_are_not_taken_for_a_models() -> None:
    names = dict.fromkeys(["adapter_model.safetensors", "config.json", "pytorch_model.safetensors"], 1)
    assert choose_files(names, None, "hf:x") == ["config.json", "pytorch_model.safetensors"]


@pytest.mark.parametrize(
    ("names", "selection", "taken"),
    [
        (["M.Q4_K_M.gguf", "M.imatrix.gguf"], None, "M.Q4_K_M.gguf"),
        (["M-Q4_K_M.gguf", "mtp-M-Q4_K_M.gguf"], "Q4_K_M", "M-Q4_K_M.gguf"),
        (["m-Q8_0.gguf", "m-F16-00001-of-00002.gguf"], "Q8_0", "m-Q8_0.gguf"),
        (["m-Q8_0.gguf", "m-Q8_0-00001-of-00002.gguf"], "Q8_0", "m-Q8_0.gguf"),
        (["m-Q8_0.GGUF", "readme.md"], None, "m-Q8_0.GGUF"),
    ],
)
def test_sidecars_of_a_repository_are_no_models(names: list[str], selection: str | None, taken: str) -> None:
    assert choose_files(dict.fromkeys(names, 1), selection, "hf:x") == [taken]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"pytorch_model.bin": b"\x80\x04"}, r"only pickles \(pytorch_model\.bin\), which may run code"),
        (
            {"notes.txt": b""},
            r"holds no weights that can be read: expected \*\.safetensors with config\.json, or \*\.gguf",
        ),
        ({"a.gguf": gguf(9), "b.gguf": gguf(9)}, r"holds 2 models: name the file of one"),
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


def test_parts_without_an_index_make_a_model_if_all_are_there(store, tmp_path):
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for name in (*names, "config.json"):
        (tmp_path / name).write_bytes(safetensors(8) if name in names else b"{}")
    assert store.resolve(str(tmp_path)).path == tmp_path
    (tmp_path / names[0]).unlink()
    with pytest.raises(StoreError, match=rf"1 of them are missing: {names[0]}"):
        store.resolve(str(tmp_path))


def test_a_name_that_no_disk_takes_is_refused(store, file):
    with pytest.raises(StoreError, match=r"longer than 200 characters.*--name"):
        store.pull(str(file), name="a" * 250)


def test_what_is_no_file_is_refused_by_what_it_is(store, tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "link.gguf").symlink_to("nowhere.gguf")
    (tmp_path / "loop.gguf").symlink_to("loop.gguf")
    for name, said in {
        "pipe.gguf": "a device, a pipe or a socket, expected a file",
        "link.gguf": "leads to nowhere.gguf, where nothing is",
        "loop.gguf": "leads to loop.gguf, where nothing is",
        "absent.gguf": "there is no such file or folder",
    }.items():
        with pytest.raises(StoreError, match=said):
            store.resolve(str(tmp_path / name))


def test_an_index_beside_a_single_part_is_still_what_is_opened(store, tmp_path):
    """Its other parts may be where none are looked for; who opens it says so."""
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(safetensors(8))
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"t": "sub/b.safetensors"}}')
    (tmp_path / "config.json").write_text("{}")
    assert store.resolve(str(tmp_path)).path == tmp_path


def test_files_that_were_read_before_are_not_read_again_and_nothing_is_said_of_reading(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = file.stat().st_mtime_ns - 10_000_000_000
    os.utime(file, ns=(old, old))
    monkeypatch.setattr(remembered, "SETTLED_NS", 0)  # its time of change is now
    store.pull(str(file))
    watcher = Watcher()
    store.pull(str(file), progress=watcher)
    assert (watcher.labels, watcher.said) == ([], [])
