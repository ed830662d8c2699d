"""metrics.jsonl: a line for each step of a run, and one for each time that the held-out loss was measured."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ouvert.store import write_whole

Row = Mapping[str, Any]


class Metrics:
    """The lines, in the order of their steps. One process writes them; others may read at the same time."""

    def __init__(self, path: Path) -> None:
        """Raises nothing."""
        self.path = path

    def rows(self) -> list[dict[str, Any]]:
        """What is written so far; a line without an end is left out. Raises OSError."""
        return list(rows_in(self.path))

    def begin_at(self, step: int, measured: int) -> None:
        """Forget what will be computed again: steps behind `step`, and held-out losses behind `measured`. Raises
        OSError."""
        rows = [row for row in self.rows() if row["step"] <= (measured if "held_out" in row else step)]
        write_whole(self.path, [line_of(row) for row in rows])

    def append(self, row: Row) -> None:
        """Raises OSError where it cannot be written: the file is then as it was."""
        with open(self.path, "ab", buffering=0) as file:
            start = os.fstat(file.fileno()).st_size
            line = line_of(row)
            try:
                if file.write(line) != len(line):
                    raise OSError(f"{self.path}: the disk took only a part of a line.")
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(file.fileno(), start)
                raise


def line_of(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def rows_in(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of the file, if there is one. Raises OSError, and ValueError for a line that is no JSON."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def followed(rows: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """What a person follows in these lines, of what is trained and of what is held out: rewards where there are any (a
    loss that is made of advantages stays near 0), else losses. Raises nothing."""
    return ("reward", "held_out_reward") if any("reward" in row for row in rows) else ("loss", "held_out")
