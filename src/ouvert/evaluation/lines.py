"""A file of lines of JSON that is only ever appended to, and survives whoever writes it.

A line that its writer did not finish (kill -9, a full disk) is none: readers leave it out, the next writer cuts it off.
"""

import errno
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.error import EvaluationError
from ouvert.store import read_regular


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every finished line, in order; none where there is no file. Raises EvaluationError for a line that is no JSON
    object, and for a file that cannot be read."""
    try:
        whole, _, _ = read_regular(path).rpartition(b"\n")
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise EvaluationError(
            f"reading {path}: {problem.strerror}, expected a file of lines. See who may read it."
        ) from None
    return [line_of(path, number, line) for number, line in enumerate(whole.split(b"\n"), 1) if line]


def line_of(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        read = json.loads(line)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise EvaluationError(
            f"reading {path}, line {number}: {line[:60]!r} is no JSON object, expected one a line. The file is "
            "damaged: take it from a copy, or compare again."
        )
    return read


class Appender:
    """Appends lines to one file, each whole or not at all. One writer at a time."""

    def __init__(self, path: Path, *, private: bool = False) -> None:
        """What a writer before left unfinished is cut off. `private`: only the owner may read the file. Raises
        EvaluationError where it cannot be written."""
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600 if private else 0o644)
            os.ftruncate(self._file, end_of_whole_lines(self._file))
        except OSError as problem:
            raise unwritable(path, problem) from None

    def append(self, line: Mapping[str, Any]) -> None:
        """Raises EvaluationError where the disk is full: the file then ends with the line before."""
        end = os.lseek(self._file, 0, os.SEEK_END)
        rest = memoryview(canonical_json(line) + b"\n")
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as problem:
            os.ftruncate(self._file, end)
            raise unwritable(self.path, problem) from None

    def close(self) -> None:
        """What was appended survives a loss of power from now on. May be called twice. Raises nothing but OSError."""
        if self._file >= 0:
            file, self._file = self._file, -1
            try:
                os.fsync(file)
            finally:
                os.close(file)


def end_of_whole_lines(file: int, piece: int = 1 << 16) -> int:
    """Where the last finished line ends. Raises OSError."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - piece)
        os.lseek(file, start, os.SEEK_SET)
        if (last := os.read(file, end - start).rfind(b"\n")) >= 0:
            return start + last + 1
        end = start
    return 0


# What there is no room for; other errors are about who may write, or the disk itself.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def unwritable(path: Path, problem: OSError) -> EvaluationError:
    expected, remedy = (
        ("room for a line", "make room") if problem.errno in NO_ROOM else ("to be allowed to", "see to it")
    )
    return EvaluationError(
        f"writing {path}: {problem.strerror}, expected {expected}. What was answered so far is kept: {remedy}, "
        "and go on with `ouvert compare resume`."
    )


class Claim:
    """A file locked for one process, until it is let go or the process ends, however that ends."""

    def __init__(self, path: Path) -> None:
        """Raises EvaluationError if another process has it; OSError where there is no such file."""
        self._file = os.open(path, os.O_RDONLY)
        if sys.platform != "win32":  # there, two writers are not kept apart
            import fcntl

            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._file)
                raise EvaluationError(
                    f"writing to {path.parent}: another process is running this comparison, expected nobody. Wait "
                    "for it, or end it and go on with `ouvert compare resume`."
                ) from None

    def close(self) -> None:
        """May be called twice. Raises nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
