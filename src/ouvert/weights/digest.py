"""Digests of files, as they stand in receipts: "sha256:" and 64 hexadecimal digits."""

import hashlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

PIECE_BYTES = 1 << 20


def sha256_of(path: Path, progress: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file's content. `progress` is called with the bytes read so far, from first to last.

    Raises OSError if the file cannot be read.
    """
    digest = hashlib.sha256()
    piece = memoryview(bytearray(PIECE_BYTES))
    done = 0
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(piece):
            digest.update(piece[:count])
            done += count
            if progress:
                progress(done)
    return f"sha256:{digest.hexdigest()}"


def sha256_of_range(descriptor: int, start: int, stop: int) -> bytes | None:
    """The SHA-256 of an open file's bytes `start` to `stop`; None if it ends before. Raises OSError if it
    cannot be read.

    Read, not looked at in a memory map: a file that is cut shorter meanwhile is an answer, not a signal. The bytes are
    those that a map of the same file shows. One thread at a time: some systems move the file's position.
    """
    digest = hashlib.sha256()
    while start < stop:
        count = min(PIECE_BYTES, stop - start)
        if sys.platform == "win32":
            os.lseek(descriptor, start, os.SEEK_SET)
            piece = os.read(descriptor, count)
        else:
            piece = os.pread(descriptor, count, start)
        if not piece:
            return None
        digest.update(piece)
        start += len(piece)
    return digest.digest()


def combined_digest(digests: Mapping[str, str]) -> str:
    """The digest of weights in files of these names: of one file its own, of several that of the sorted lines
    "<hex> <name>\\n".

    Raises nothing.
    """
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = sorted(f"{digest.removeprefix('sha256:')} {name}\n" for name, digest in digests.items())
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()
