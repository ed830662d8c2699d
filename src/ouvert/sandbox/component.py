"""The component of level `wasm`: CPython with its standard library, translated for this machine, built once."""

import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ouvert.sandbox.error import BoxError
from ouvert.sandbox.mounts import INSIDE

NAME, FACTS = "cell.cwasm", "facts.json"
# What the component follows from, of ours.
SOURCES = ("wasm_cell.py", "wasm_build.py")
BUILD_SECONDS = 900.0  # half a minute on a machine that does nothing else
PACKAGES = ("componentize-py==0.25.1", "wasmtime==50.0.1")  # the extra `portable`
MISSING = f"python -m pip install {' '.join(PACKAGES)}"
PREPARE = "ouvert box prepare"


@dataclass(frozen=True, slots=True)
class Component:
    """What `prepare` made: the file, its SHA-256, and with which releases of which packages."""

    path: Path
    digest: str
    built_with: dict[str, str]
    size: int


def default_folder() -> Path:
    """Where this system keeps what can be made again, e.g. ~/.cache/ouvert/box. Raises nothing."""
    from platformdirs import user_cache_path

    return user_cache_path("ouvert", appauthor=False) / "box"


def release(package: str) -> str | None:
    """The release of a package that is installed. Raises nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@functools.cache
def key() -> str:
    """A name for what a component follows from that is known where it is used: our files, wasmtime, this machine."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((INSIDE / name).read_bytes())
    digest.update(f"{release('wasmtime')} {sys.platform} {platform.machine()}".encode())
    return digest.hexdigest()[:16]


def built(folder: Path | None = None) -> tuple[Component | None, str]:
    """(the component of this release on this machine, why there is none). Its digest is checked. Raises nothing."""
    if find_spec("wasmtime") is None:
        return None, f"wasmtime is not installed ({MISSING}, then {PREPARE})"
    place = (folder or default_folder()) / key()
    try:
        facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
        found = Component(place / NAME, facts["sha256"], facts["built_with"], facts["bytes"])
        status = found.path.stat()
        body = found.path.read_bytes()
    except FileNotFoundError:
        return None, f"the component is not built for this release on this machine ({PREPARE})"
    except (OSError, ValueError, KeyError, TypeError) as problem:
        return None, f"the component cannot be read: {problem} ({PREPARE} --again)"
    if sys.platform != "win32" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        return None, f"{found.path} belongs to another user or can be written by one ({PREPARE} --again)"
    if hashlib.sha256(body).hexdigest() != found.digest:
        return None, f"{found.path} is not what was built: its digest is another one ({PREPARE} --again)"
    return found, ""


def build_command() -> tuple[str, ...]:
    """How the command that builds begins: for a guard over the process that calls `prepare`. Raises nothing."""
    return (sys.executable, "-s", "-P", str(INSIDE / "wasm_build.py"))


def prepare(folder: Path | None = None, *, again: bool = False) -> Component:
    """Build the component below `folder`, unless it is there; `again`: even then. Fetches nothing. Those of other
    releases are removed. Takes about half a minute of two processors and 700 MB of memory.

    Raises BoxError where a package is missing, and where it cannot be built.
    """
    folder = folder or default_folder()
    present, _ = built(folder)
    if present is not None and not again:
        return present
    missing = [each for each in ("wasmtime", "componentize-py") if release(each) is None]
    if missing:
        raise BoxError(
            f"building Python for WebAssembly: {' and '.join(missing)} not installed, expected both. Install them: "
            f"`{MISSING}`."
        )
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        present, _ = built(folder)  # another process may have built it while this one waited
        if present is None or again:
            build_into(folder, again=again)
    found, why = built(folder)
    if found is None:
        raise BoxError(f"building Python for WebAssembly: what was built cannot be used: {why}.")
    return found


def build_into(folder: Path, *, again: bool) -> None:
    """Build beside, and rename. Raises BoxError."""
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder) as made:
        build(Path(made))
        body = (Path(made) / NAME).read_bytes()
        facts = {
            "sha256": hashlib.sha256(body).hexdigest(),
            "bytes": len(body),
            "built_with": {each: release(each) for each in ("wasmtime", "componentize-py")},
        }
        (Path(made) / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        for each in folder.glob("?" * len(key())):  # of earlier releases, and one that cannot be used
            shutil.rmtree(each)
        os.rename(made, folder / key())
        os.mkdir(made)  # for its own removal


def build(folder: Path) -> None:
    """One run of wasm_build.py. Raises BoxError."""
    try:
        ran = subprocess.run(  # noqa: S603 - ours
            [*build_command(), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired as problem:
        raise BoxError(
            f"building Python for WebAssembly: it took more than {BUILD_SECONDS:g} seconds, expected about thirty. "
            "Try again when this machine is less busy."
        ) from problem
    if ran.returncode != 0 or not (folder / NAME).exists():
        said = ran.stdout.decode("utf-8", "replace").strip()[-600:]
        raise BoxError(
            f"building Python for WebAssembly: it ended with status {ran.returncode}, expected 0. It said: {said}. "
            f"Install the releases that were tried: {MISSING}."
        )
