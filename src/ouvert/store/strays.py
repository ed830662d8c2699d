"""What writers left beside their files when they were killed: swept at a start, named by `ouvert doctor`."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ouvert.store.adapters import Adapters

# Where it lies below the store, how it is called, and after how many seconds nobody can be at it any more: a file is
# written in seconds, a package may come in for hours.
KINDS = (
    ("", "incoming-*", 86400.0),
    ("", ".digests-*", 3600.0),
    ("server", ".keys-*", 3600.0),
    ("server", "**/.writing-*", 3600.0),
    ("", ".writing-*", 3600.0),
    ("conversations", ".writing-*", 3600.0),
    ("models", "**/*.partial", 3600.0),
    ("adapters", "**/.writing-*", 3600.0),
    ("tunings", ".*.*", 3600.0),
    ("tunings", "**/.writing-*", 3600.0),
    ("tunings", "**/*.partial", 3600.0),
    ("jobs", ".writing-*", 86400.0),
    ("jobs", "*/.writing-*", 86400.0),
    ("files", ".writing-*", 86400.0),
)


def strays(home: Path) -> list[Path]:
    """Those of the store that nobody is writing any more. Raises nothing."""
    old = {path for folder, pattern, seconds in KINDS for path in left_in(home / folder, pattern, seconds)}
    return sorted(old | {*Adapters(home).abandoned()})  # of adapters a lock says at once that nobody fills them


def sweep_strays(home: Path) -> list[Path]:
    """Remove them. Returns those that are gone; what cannot be removed stays, and `strays` names it. Raises nothing."""
    gone = []
    for path in strays(home):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                continue  # of a store that cannot be written; doctor goes on naming it
        if not path.exists():
            gone.append(path)
    return gone


def left_in(folder: Path, pattern: str, seconds: float) -> Iterator[Path]:
    for path in folder.glob(pattern):
        try:
            newest = max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
        except OSError:
            continue  # somebody has just finished with it
        if time.time() - newest > seconds:
            yield path
