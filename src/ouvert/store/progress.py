"""How a fetch tells what it is doing; the command line draws it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """One thing is under way at a time: begin, advance ..., end. Counts are bytes.

    Its methods raise nothing, but for `require_wanted`.
    """

    def say(self, text: str) -> None:
        """One line for the person who waits."""

    def begin(self, label: str, total: int | None, done: int = 0) -> None:
        """`label` starts, of `total` bytes if that is known; `done` were there already."""

    def advance(self, count: int) -> None:
        """`count` more bytes; negative when some have to be fetched again."""

    def end(self) -> None:
        """It is finished, or was given up."""

    def require_wanted(self) -> None:
        """Asked whenever a fetch could end: raises Cancelled if whoever asked for it has given it up."""


class Silence:
    """The progress nobody watches."""

    def say(self, text: str) -> None:
        pass

    def begin(self, label: str, total: int | None, done: int = 0) -> None:
        pass

    def advance(self, count: int) -> None:
        pass

    def end(self) -> None:
        pass

    def require_wanted(self) -> None:
        pass


SILENCE = Silence()  # shows nothing


@contextmanager
def shown(progress: Progress, label: str, total: int) -> Iterator[None]:
    """`label` is under way inside the block, whether it succeeds or not."""
    progress.begin(label, total)
    try:
        yield
    finally:
        progress.end()


def counted(count: int, what: str) -> str:
    """A count with its noun, whose plural takes an s: 1 example, 1,200 examples. Raises nothing."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def bytes_in_words(count: int) -> str:
    """`count` bytes as people read them, in powers of ten: 98.4 MB. Raises nothing."""
    if count < 1000:
        return f"{count} bytes"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.2f} TB"
