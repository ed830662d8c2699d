"""Content by digest: files that are written once, whole, and shared by every model that has them."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock

from ouvert.store.error import NoRoom, StoreError
from ouvert.store.manifest import keep_renames
from ouvert.store.progress import Progress, bytes_in_words

PIECE = 1 << 20  # bytes read, hashed and written at a time


class Blobs:
    """A folder of files named sha256-<hex>. What is still arriving is called <key>.partial."""

    def __init__(self, folder: Path, locks: Path) -> None:
        self.folder, self.locks = folder, locks

    def path(self, digest: str) -> Path:
        """Where the content with this digest ("sha256:<hex>") is, or would be."""
        return self.folder / digest.replace(":", "-")

    def holds(self, digest: str, size: int) -> bool:
        path = self.path(digest)
        return path.is_file() and path.stat().st_size == size

    def partial(self, key: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{key}.partial"

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Only one process at a time brings in the content called `key`."""
        self.locks.mkdir(parents=True, exist_ok=True)
        with FileLock(self.locks / f"{key}.lock"):
            yield

    def keep(self, partial: Path, digest: str) -> None:
        """A finished partial, whose digest is known, becomes a blob."""
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, self.path(digest))
        keep_renames(self.folder)

    def take(self, stream: BinaryIO, key: str, progress: Progress, *, name: str, expected: str | None = None) -> str:
        """Bring in everything `stream` has and return its digest; progress has begun and is advanced.

        Raises StoreError, and keeps nothing, when the digest is not the `expected` one.
        """
        partial = self.partial(key)
        hasher = hashlib.sha256()
        try:
            with disk_full_said(partial), partial.open("wb") as file:
                while piece := stream.read(PIECE):
                    progress.require_wanted()
                    hasher.update(piece)
                    file.write(piece)
                    progress.advance(len(piece))
            digest = "sha256:" + hasher.hexdigest()
            if expected not in (None, digest):
                raise StoreError(
                    f"{name} is not the file that is pinned: its digest is {digest}, expected {expected}. It was "
                    "discarded and nothing else was touched. Someone changed it on the way or at the source: do not "
                    "use it before you know why."
                )
            self.keep(partial, digest)
        finally:
            partial.unlink(missing_ok=True)
        return digest


def free_bytes(folder: Path) -> int:
    """What is free on the disk that holds `folder`, or will."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(existing).free


def require_room(folder: Path, needed: int, what: str, beside: int = 0) -> None:
    """Raise NoRoom unless `needed` more bytes, and as many `beside` them, fit on the disk that holds `folder`."""
    free = free_bytes(folder)
    needed += beside
    if needed > free:
        of_it = f" ({bytes_in_words(beside)} of it beside what is fetched)" if beside else ""
        raise NoRoom(
            f"{what} needs {bytes_in_words(needed)} more{of_it} on the disk of {folder}, which has "
            f"{bytes_in_words(free)} free: nothing was downloaded. Make {bytes_in_words(needed - free)} of room "
            "(`ouvert list` shows what models take, `ouvert remove` frees it), or set OUVERT_HOME to a folder on a "
            "larger disk."
        )


@contextmanager
def disk_full_said(path: Path) -> Iterator[None]:
    """Turns the system's "no space left" into a sentence."""
    try:
        yield
    except OSError as problem:
        if problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoRoom(
            f"the disk of {path.parent} became full while {path.name} was being written. What has arrived is kept: "
            "make room and run the same command again."
        ) from problem
