"""How fast a disk reads, measured past the page cache: what a model whose experts stay there can hope for."""

import mmap
import os
import random
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ouvert.engine.interface import EngineError

# Reads of so many bytes, as many at a time as experts are read with, for so many seconds: about what an expert takes.
READ_BYTES = 4 << 20
READERS = 4
SECONDS = 1.5
# A file must be larger than what reads near one another find in a disk's own memory.
LEAST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class DiskSpeed:
    """Bytes a second, and whether reads went past the page cache by themselves; if not, it was dropped before."""

    bytes_per_second: float
    direct: bool


def measure_disk(folder: Path) -> DiskSpeed:
    """Read at random places of the largest file in `folder` or below it; or, where none has 256 MB, of one that is
    written for this and removed. Takes two seconds, and as long as writing takes.

    Raises EngineError where nothing can be read or written there, and on systems without pread.
    """
    if not hasattr(os, "preadv"):
        raise EngineError("measuring the disk: this system has no preadv. Experts are read from disk on Linux only.")
    try:
        with file_to_read(folder) as path:
            descriptor, direct = opened(path)
            try:
                return DiskSpeed(speed_of(descriptor, os.fstat(descriptor).st_size, direct), direct)
            finally:
                os.close(descriptor)
    except OSError as problem:
        raise EngineError(
            f"measuring the disk: {folder} cannot be read or written: {problem}. Let it be written, or leave the "
            "forecast for experts on disk out."
        ) from problem


@contextmanager
def file_to_read(folder: Path) -> Iterator[Path]:
    """The largest file there, or a new one of random bytes. Raises OSError."""
    found = [(size, path) for path, size in regular_files(folder) if size >= LEAST_BYTES]
    if found:
        yield max(found)[1]
        return
    there = next(each for each in (folder, *folder.parents) if each.exists())
    with tempfile.NamedTemporaryFile(dir=there, prefix=".ouvert-disk-") as file:
        for _ in range(LEAST_BYTES // READ_BYTES):
            file.write(os.urandom(READ_BYTES))
        file.flush()
        os.fsync(file.fileno())
        yield Path(file.name)


def regular_files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Each file below, links left out, and its size."""
    for path, _, names in os.walk(folder):
        for name in names:
            file = Path(path, name)
            if file.is_file() and not file.is_symlink():
                yield file, file.stat().st_size


def opened(path: Path) -> tuple[int, bool]:
    """A descriptor, and whether its reads go past the page cache. Raises OSError."""
    if hasattr(os, "O_DIRECT"):
        try:
            return os.open(path, os.O_RDONLY | os.O_DIRECT), True
        except OSError:
            pass  # a file system without it
    descriptor = os.open(path, os.O_RDONLY)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return descriptor, False


def huge_pages(size: int) -> mmap.mmap:
    """Memory as experts are read into: it begins at a page, as reads past the page cache ask for, and lies in huge
    pages where the system has them, which can double a disk's speed."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            room.madvise(mmap.MADV_HUGEPAGE)
    return room


def speed_of(descriptor: int, size: int, direct: bool) -> float:
    """Bytes a second, of all readers together. Raises OSError."""
    began = time.perf_counter()
    places = size // READ_BYTES

    def read(seed: int) -> int:
        chosen, done = random.Random(seed), 0  # noqa: S311 - places in a file
        with huge_pages(READ_BYTES) as room:
            while time.perf_counter() - began < SECONDS:
                place = chosen.randrange(places) * READ_BYTES
                done += os.preadv(descriptor, [room], place)
                if not direct and hasattr(os, "posix_fadvise"):
                    os.posix_fadvise(descriptor, place, READ_BYTES, os.POSIX_FADV_DONTNEED)
        return done

    with ThreadPoolExecutor(READERS) as readers:
        total = sum(readers.map(read, range(READERS)))
    return total / (time.perf_counter() - began)
