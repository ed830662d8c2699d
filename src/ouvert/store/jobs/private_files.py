"""Files that only their owner can read, each whole or not there at all."""

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WRITING = ".writing-"  # how a file is called until it is whole; `strays` sweeps what a killed writer left


def make_private_folder(path: Path) -> None:
    """The folder and those above it, for this user alone. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


def write_whole(path: Path, pieces: Iterable[bytes]) -> int:
    """Write a file beside and rename it; the bytes written. Until then, and after any failure, what was there stays.

    Raises OSError, and what `pieces` raises.
    """
    handle, beside = tempfile.mkstemp(prefix=WRITING, dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as out:
            size = sum(out.write(piece) for piece in pieces)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return size


def write_json(path: Path, value: Any) -> None:
    """Raises OSError."""
    write_whole(path, [json.dumps(value, ensure_ascii=True, indent=1).encode("ascii"), b"\n"])


def sync_folder(path: Path) -> None:
    """Names in the folder survive a loss of power from now on, where the system can say so. Raises OSError."""
    if os.name == "nt":
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
