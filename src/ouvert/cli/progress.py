"""How a fetch is shown: a moving bar on a terminal, plain lines elsewhere. All of it goes to stderr."""

import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, TextIO

from ouvert.store import Progress, bytes_in_words

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

QUIET_SECONDS = 10.0  # between two plain lines of one transfer


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
        state = "" if whole else f" of {bytes_in_words(self.total or 0)}, not finished"
        self.say(f"{self.label}: {bytes_in_words(self.count)}{state} ({bytes_in_words(speed)}/s)")


class Bars:
    """For a terminal: one bar for each file, with bytes, speed and the time that remains."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self.console = Console(file=stream)
        self.bar: RichProgress | None = None
        self.task: TaskID | None = None

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def begin(self, label: str, total: int | None, done: int = 0) -> None:
        from rich.markup import escape
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        self.bar = RichProgress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=self.console)
        self.bar.start()
        self.task = self.bar.add_task(escape(label), total=total, completed=done)

    def advance(self, count: int) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.advance(self.task, count)

    def end(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = self.task = None


def seconds_in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
