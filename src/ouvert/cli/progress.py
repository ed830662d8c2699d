"""How a fetch is shown: a moving bar on a terminal, plain lines elsewhere. All of it goes to stderr."""

import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, TextIO

from ouvert.store import Progress, bytes_in_words

if TYPE_CHECKING:
    from tqdm import tqdm

QUIET_SECONDS = 10.0  # between two plain lines of one transfer
WORTH_A_LINE = 1_000_000  # bytes; the end of a smaller file is no news


def show_progress(stream: TextIO | None = None) -> Progress:
    """What suits `stream` (stderr unless given)."""
    stream = stream or sys.stderr
    return Bars(stream) if stream.isatty() else Lines(stream)


class Lines:
    """For logs and pipes: a line every few seconds and one at the end, with bytes, speed and the time that remains."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = monotonic) -> None:
        self.stream, self.clock = stream, clock

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def begin(self, label: str, total: int | None, done: int = 0) -> None:
        self.label, self.total, self.before, self.count = label, total, done, done
        self.started = self.said = self.clock()

    def advance(self, count: int) -> None:
        self.count += count
        now = self.clock()
        if now - self.said >= QUIET_SECONDS:
            self.said = now
            speed = max(self.count - self.before, 1) / (now - self.started)
            of = f" of {bytes_in_words(self.total)}" if self.total else ""
            remaining = f", {seconds_in_words((self.total - self.count) / speed)} to go" if self.total else ""
            self.say(f"{self.label}: {bytes_in_words(self.count)}{of}, {bytes_in_words(int(speed))}/s{remaining}")

    def end(self) -> None:
        seconds = self.clock() - self.started
        speed = int(max(self.count - self.before, 0) / max(seconds, 1e-3))
        whole = self.total is None or self.count >= self.total
        if whole and self.count < WORTH_A_LINE and self.said == self.started:
            return
        state = "" if whole else f" of {bytes_in_words(self.total or 0)}, not finished"
        self.say(f"{self.label}: {bytes_in_words(self.count)}{state} ({bytes_in_words(speed)}/s)")

    def require_wanted(self) -> None:
        """Whoever does not want it any more ends the process."""


class Bars:
    """For a terminal: one bar for each file, with bytes, speed and the time that remains."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.bar: tqdm[NoReturn] | None = None

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def begin(self, label: str, total: int | None, done: int = 0) -> None:
        from tqdm import tqdm

        self.bar = tqdm(
            desc=label, total=total, initial=done, file=self.stream, unit="B", unit_scale=True, dynamic_ncols=True
        )

    def advance(self, count: int) -> None:
        if self.bar is not None:
            self.bar.update(count)

    def end(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def require_wanted(self) -> None:
        """Whoever does not want it any more ends the process."""


def seconds_in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
