"""Digests of files outside the store, remembered until a file changes, so that a large one is read whole only once."""

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ouvert.store.error import StoreError
from ouvert.weights import NotRegularError, read_regular

LOG = logging.getLogger("ouvert.store")

# The oldest entries go beyond this: a line is about 200 bytes.
MOST_ENTRIES = 1000
# A file that was changed so shortly before it was read is read again the next time: no file system's clock is coarser.
SETTLED_NS = 2_000_000_000


class RememberedDigests:
    """A JSON file: absolute path -> [size, time of modification, time of change (both in ns), inode, digest].

    Whoever replaces a file in place can give it the size and the time of modification that it had; its time of change
    is the system's alone. Losing the file, or one of another version, costs time and nothing else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def digest_of(self, file: Path, compute: Callable[[Path], str]) -> str:
        """The file's "sha256:<hex>": remembered where size, times and inode are the same, else computed now."""
        absolute = str(file.absolute())
        now = state_of(file)
        known = self._read()
        if (entry := known.get(absolute)) is not None and entry[:-1] == now:
            return str(entry[-1])
        begun = time.time_ns()
        digest = compute(file)
        if state_of(file) != now:
            raise StoreError(f"{file} changed while it was read. Wait until it is written, then try again.")
        if begun - max(now[1:3]) < SETTLED_NS:
            return digest  # another change within the same tick of the clock would not be noticed
        known = self._read()
        known.pop(absolute, None)
        known[absolute] = [*now, digest]
        try:
            self._write(dict(list(known.items())[-MOST_ENTRIES:]))
        except OSError as problem:  # it costs time the next time, and nothing else
            LOG.warning("%s cannot be written (%s): %s is read whole the next time, too", self.path, problem, file)
        return digest

    def _read(self) -> dict[str, list[int | str]]:
        try:
            stated = json.loads(read_regular(self.path, follow=True))
        except (FileNotFoundError, NotRegularError, UnicodeDecodeError, json.JSONDecodeError):
            return {}  # damaged is as good as lost: digests are computed again
        sound = isinstance(stated, dict) and all(isinstance(row, list) and len(row) == 5 for row in stated.values())
        return stated if sound else {}

    def _write(self, known: dict[str, list[int | str]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=self.path.parent, prefix=".digests-", delete=False, encoding="utf-8"
        ) as beside:
            try:
                json.dump(known, beside)
                beside.flush()
                os.replace(beside.name, self.path)
            except OSError:
                os.unlink(beside.name)
                raise


def state_of(file: Path) -> list[int]:
    state = os.stat(file)
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
