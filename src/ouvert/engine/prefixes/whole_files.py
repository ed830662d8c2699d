"""Files that are there whole or not at all, whoever is ended while writing them."""

import os
import secrets
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

PART = ".part"
# Where files cannot be locked, what is being written is told from what a killed writer left by its age.
ABANDONED_SECONDS = 3600


def put(path: Path, pieces: Iterable[bytes | memoryview], used: float) -> None:
    """Write a file, whole or not at all. Raises OSError."""
    beside, file = begun(path.parent)
    try:
        with file:
            for piece in pieces:
                rest = memoryview(piece)
                while len(rest):
                    rest = rest[file.write(rest) :]
            os.utime(beside, (used, used))
            if sys.platform != "win32":  # there, only a closed file can be renamed
                os.replace(beside, path)
        if sys.platform == "win32":
            os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def begun(folder: Path) -> tuple[Path, BinaryIO]:
    """A new file that is claimed as long as it is open. Raises OSError."""
    while True:
        path = folder / f".{secrets.token_hex(8)}{PART}"
        file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)  # noqa: SIM115
        if claim(file) is not False and path.exists():
            return path, file
        file.close()  # between our two calls somebody took it for abandoned, and removed it


def claim(file: BinaryIO) -> bool | None:
    """Lock a file until it is closed or its process ends, however that ends. False if another has it locked; None
    where files cannot be locked so."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems
        return None
    return True


def is_abandoned(file: BinaryIO) -> bool:
    """Whether nobody is writing this file any more. Process numbers would not tell: containers have their own."""
    claimed = claim(file)
    if claimed is None:
        return time.time() - os.fstat(file.fileno()).st_mtime > ABANDONED_SECONDS
    return claimed
