"""A model's thoughts at a terminal: their last lines while they come, one line about them afterwards."""

import os
import unicodedata
from collections.abc import Iterator
from typing import TextIO

from ouvert.cli.terminal import columns_of

DIM, PLAIN = "\x1b[2m", "\x1b[0m"
ROWS = 6
WIDTH = 80  # where the terminal does not say


class ThinkingWindow:
    """The last rows of a text that grows. Draws over itself; `close` leaves nothing behind."""

    def __init__(self, screen: TextIO, rows: int = ROWS) -> None:
        self._screen, self._rows = screen, rows
        self._text = ""
        self._drawn = 0  # rows on the screen

    def write(self, text: str) -> None:
        width = width_of(self._screen)
        self._text += text
        lines = list(wrapped(self._text, width - 1))[-self._rows :]
        # What scrolled out of the window is not wrapped again; a line may only be cut where one was.
        self._text = self._text[-(self._rows + 1) * width * 4 :]
        self._erase()
        self._screen.write(DIM + "\n".join(lines) + PLAIN)
        self._screen.flush()
        self._drawn = len(lines)

    def close(self) -> None:
        self._erase()
        self._screen.flush()
        self._text = ""

    def _erase(self) -> None:
        """Go to the beginning of the first row drawn, and clear everything after it."""
        if self._drawn:
            up = f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else ""
            self._screen.write(f"\r{up}\x1b[J")
        self._drawn = 0


def width_of(screen: TextIO) -> int:
    try:
        return max(20, os.get_terminal_size(screen.fileno()).columns)
    except (OSError, ValueError):  # no file behind it, or none that is a terminal
        return WIDTH


def wrapped(text: str, width: int) -> Iterator[str]:
    """The text as rows of at most `width` columns, control characters left out."""
    for line in text.split("\n"):
        row, columns = "", 0
        for sign in line:
            takes = columns_of(sign)
            if columns + takes > width:
                yield row
                row, columns = "", 0
            if takes or unicodedata.combining(sign):
                row += sign
                columns += takes
        yield row


def thought_line(seconds: float, tokens: int | None) -> str:
    return f"thought for {seconds:.1f} s" + (f", {tokens} tokens" if tokens is not None else "")
