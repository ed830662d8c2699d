"""The results of a job: a file of lines that only grows, one line for each item that is done, each item once."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ouvert.store.jobs.error import JobError
from ouvert.weights import open_regular

RESULTS = "results.jsonl"
STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an item. `ok`: it was done; else `value` says what was wrong with it."""

    item: str
    ok: bool
    value: Mapping[str, Any]


class Results:
    """The file, open for appending by the one process that works on the job.

    A line is in the file whole or not at all: what a killed writer left of its last line is cut off here, before
    anything is written behind it, and a line that cannot be written (a full disk) is taken back.
    """

    def __init__(self, path: Path) -> None:
        """Raises JobError for a line that is none of ours, and OSError."""
        self.path = path
        self._file = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            self._places = self._index()
        except BaseException:
            os.close(self._file)
            raise

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, item: str) -> bool:
        return item in self._places

    def __iter__(self) -> Iterator[Result]:
        """In the order in which they were recorded."""
        for item in tuple(self._places):
            yield self.of(item)

    def of(self, item: str) -> Result:
        """Raises KeyError for an item that is not done."""
        start, length = self._places[item]
        return parsed(os.pread(self._file, length, start), self.path, None)

    def append(self, result: Result) -> None:
        """Record it; when this returns it survives the end of this process and a loss of power.

        Raises ValueError for an item that has a result, and OSError where it cannot be written: the file is then as it
        was before.
        """
        if result.item in self._places:
            raise ValueError(f"recording a result: {result.item!r:.100} has one already, expected each item once.")
        stated = {"item": result.item, "ok": result.ok, "value": result.value}
        line = json.dumps(stated, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
        start = os.fstat(self._file).st_size
        try:
            write_all(self._file, line)
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, start)
            raise
        self._places[result.item] = (start, len(line))

    def close(self) -> None:
        """Raises nothing; may be called once."""
        os.close(self._file)

    def _index(self) -> dict[str, tuple[int, int]]:
        """Where each item's line is: (its first byte, its length)."""
        places: dict[str, tuple[int, int]] = {}
        start = 0
        for number, line in enumerate(lines_of(self._file), 1):
            if not line.endswith(b"\n"):
                os.ftruncate(self._file, start)  # its writer was killed: the item is not done
                os.fsync(self._file)
                break
            result = parsed(line, self.path, number)
            if result.item in places:
                raise damaged(self.path, number, f"{result.item!r:.100} has a result before")
            places[result.item] = (start, len(line))
            start += len(line)
        return places


def read_results(path: Path) -> Iterator[Result]:
    """What is recorded so far, while somebody may be writing: a line without its end is left out.

    Raises JobError for a line that is none of ours, and OSError."""
    for _, line in whole_lines(path, 0):
        yield parsed(line, path, None)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many results a file has, as far as it was read: `end` is the first byte that was not."""

    end: int = 0
    ok: int = 0
    failed: int = 0

    def up_to_now(self, path: Path) -> "Counts":
        """With what was appended since. Raises as `read_results` does."""
        try:
            begin = self if path.stat().st_size >= self.end else Counts()
        except FileNotFoundError:
            return Counts()
        end, ok, failed = begin.end, begin.ok, begin.failed
        for start, line in whole_lines(path, begin.end):
            good = parsed(line, path, None).ok
            end, ok, failed = start + len(line), ok + good, failed + (not good)
        return Counts(end, ok, failed)


def whole_lines(path: Path, start: int) -> Iterator[tuple[int, bytes]]:
    """(first byte, line) from `start` on; none where there is no file. Raises OSError."""
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return
    try:
        for line in lines_of(file, start):
            if line.endswith(b"\n"):
                yield start, line
            start += len(line)
    finally:
        os.close(file)


def lines_of(file: int, start: int = 0) -> Iterator[bytes]:
    """The lines with their ends, from byte `start` on; the last may have none."""
    at, rest = start, b""
    while piece := os.pread(file, STEP, at):
        at += len(piece)
        whole, newline, rest_of_piece = (rest + piece).rpartition(b"\n")
        if newline:
            yield from (line + b"\n" for line in whole.split(b"\n"))
        rest = rest_of_piece
    if rest:
        yield rest


def write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def parsed(line: bytes, path: Path, number: int | None) -> Result:
    try:
        match json.loads(line):
            case {"item": str(item), "ok": bool(ok), "value": dict(value)}:
                return Result(item, ok, value)
    except ValueError as problem:
        raise damaged(path, number, str(problem)) from None
    raise damaged(path, number, "it is no result")


def damaged(path: Path, number: int | None, fault: str) -> JobError:
    where = "a line" if number is None else f"line {number}"
    return JobError(
        f"reading results: {where} of {path} is not usable ({fault:.200}), expected one result a line. The disk or "
        f"another program changed it. `ouvert jobs rm {path.parent.name}` removes the job; then the work begins anew."
    )
