"""How far a comparison is, on stderr: a moving bar on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NoReturn, Self, TextIO

from ouvert.cli.progress import QUIET_SECONDS, seconds_in_words

if TYPE_CHECKING:
    from tqdm import tqdm

    from ouvert.evaluation import Progress


class ComparisonProgress:
    """A context."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = monotonic) -> None:
        self._stream, self._clock = stream or sys.stderr, clock
        self._bar: tqdm[NoReturn] | None = None
        self._said = clock()
        self._last: Progress | None = None

    def show(self, progress: "Progress") -> None:
        """Raises nothing."""
        self._last = progress
        if self._stream.isatty():
            self._show_bar(progress)
        elif self._clock() - self._said >= QUIET_SECONDS:
            self._said = self._clock()
            left = "" if progress.seconds_left is None else f", {seconds_in_words(progress.seconds_left)} to go"
            print(
                f"{progress.done} of {progress.of}{left}: {progress.contestant}, {progress.row}"
                + (" (alone, for speed)" if progress.doing == "timing" else ""),
                file=self._stream,
                flush=True,
            )

    def interrupted(self) -> str:
        """How far it came, in a sentence."""
        return f"Stopped: {self._last.done} of {self._last.of} are answered." if self._last else "Stopped at once."

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show_bar(self, progress: "Progress") -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                total=progress.of, initial=progress.done, file=self._stream, unit=" answers", dynamic_ncols=True,
                bar_format="{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} {postfix}",
            )  # fmt: skip
        left = "" if progress.seconds_left is None else f"{seconds_in_words(progress.seconds_left)} to go, "
        self._bar.set_postfix_str(f"{left}{progress.contestant}, {progress.row}", refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
