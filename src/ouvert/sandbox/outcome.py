"""How a run of a cell ended, and what it printed."""

import codecs
import os
from dataclasses import dataclass

from ouvert.sandbox.found import Level

MOST_CHARACTERS = 50_000  # of one output
LAST_CHARACTERS = 10_000  # of them, those at the end: an exception stands there
PIECE = 65536


@dataclass(frozen=True, slots=True)
class Output:
    """What code showed. `failed`: it raised an exception, which stands at the end of `text`. `figures` are PNG files.

    `left_out`: characters that `text` does not have; a line in it says so.
    """

    text: str
    figures: tuple[bytes, ...]
    failed: bool
    left_out: int
    seconds: float
    level: Level


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The time was up; the code was interrupted as by Ctrl-C, and the variables are kept."""

    text: str
    figures: tuple[bytes, ...]
    left_out: int
    seconds: float
    level: Level


@dataclass(frozen=True, slots=True)
class Died:
    """The process of the cell is gone, and with it its variables; files in the folder are kept. The next `run` starts
    a new one. `reason` is a sentence that a model can be told."""

    reason: str
    text: str
    left_out: int
    seconds: float
    level: Level


class Text:
    """What was printed: its beginning and its end, and how much there was between them."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._beginning = ""
        self._end = ""
        self._left_out = 0

    def take(self, source: int, *, until_empty: bool = False) -> bool:
        """Take what is there to read; False at its end, and with `until_empty` also where nothing is there now."""
        try:
            piece = os.read(source, PIECE)
        except BlockingIOError:
            return not until_empty
        self.feed(piece)
        return bool(piece)

    def feed(self, piece: bytes) -> None:
        """Take these bytes; none are the end. Raises nothing."""
        self.add(self._decoder.decode(piece, final=not piece))

    def add(self, text: str) -> None:
        room = MOST_CHARACTERS - LAST_CHARACTERS - len(self._beginning)
        self._beginning += text[:room]
        self._end += text[room:]
        if len(self._end) > LAST_CHARACTERS + PIECE:
            self._forget()

    def _forget(self) -> None:
        over = max(0, len(self._end) - LAST_CHARACTERS)
        self._left_out += over
        self._end = self._end[over:]

    def cut(self) -> tuple[str, int]:
        """(the text as it is shown, how many characters it does not have). Raises nothing."""
        self._forget()
        if not self._left_out:
            return self._beginning + self._end, 0
        note = f"\n[{self._left_out:,} characters were left out here: at most {MOST_CHARACTERS:,} are shown]\n"
        return self._beginning + note + self._end, self._left_out
