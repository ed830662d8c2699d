"""How far a batch is, on stderr: a moving bar on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, Self, TextIO

from ouvert.cli.progress import QUIET_SECONDS, seconds_in_words

if TYPE_CHECKING:
    from tqdm import tqdm

    from ouvert.store import Job


class BatchProgress:
    """A context. `show` may be called from any thread, by one at a time."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._bar: tqdm[NoReturn] | None = None
        self._first: tuple[int, int] | None = None  # items done and tokens written when this process began
        self._began = self._said = clock()
        self._done = self._items = self._tokens = 0

    def show(self, job: "Job") -> None:
        """The job as it is now. Raises nothing."""
        self._done, self._items = job.answered + job.failed, job.items or 0
        self._tokens = job.totals.get("output_tokens", 0)
        if self._first is None:
            self._first = (self._done, self._tokens)
            self._began = self._said = self._clock()
            if self._done:
                print(f"{self._done} of {self._items} were answered before; going on.", file=self._stream, flush=True)
        if self._stream.isatty():
            self._show_bar()
        elif self._clock() - self._said >= QUIET_SECONDS:
            self._said = self._clock()
            print(f"{self._done} of {self._items}{self.speed()}{self._left()}", file=self._stream, flush=True)

    def speed(self) -> str:
        """What this process wrote a second, in words; nothing where it wrote nothing."""
        if self._first is None or self._tokens == self._first[1]:
            return ""
        seconds = max(self._clock() - self._began, 1e-3)
        return f", {(self._tokens - self._first[1]) / seconds:.0f} tokens/s"

    def interrupted(self) -> str:
        return f"Stopped: {self._done} of {self._items} are done." if self._items else "Stopped before the first."

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _left(self) -> str:
        assert self._first is not None  # noqa: S101 - `show` has set it
        done = self._done - self._first[0]
        if not done:
            return ""
        seconds = (self._clock() - self._began) / done * (self._items - self._done)
        return f", {seconds_in_words(seconds)} to go"

    def _show_bar(self) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                total=self._items, initial=self._done, file=self._stream, unit=" requests", dynamic_ncols=True
            )
        self._bar.set_postfix_str(self.speed().removeprefix(", "), refresh=False)
        self._bar.update(self._done - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
