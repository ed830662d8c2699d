"""How far a run is, on stderr: a moving bar on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, Self, TextIO

from ouvert.cli.progress import QUIET_SECONDS, seconds_in_words

if TYPE_CHECKING:
    from tqdm import tqdm

HELD_OUT = frozenset({"held_out", "held_out_reward"})
SHOWN = ("loss", "held_out", "reward", "held_out_reward", "tokens_per_second")  # of a line of metrics


class TuningProgress:
    """A context. `steps` that there are, `done` before this process began, `seconds` that the plan foresaw for all;
    `measure_every`: after so many steps, and after the last, a line of metrics with what is held out follows; 0: never.
    """

    def __init__(
        self,
        steps: int,
        done: int,
        seconds: float,
        measure_every: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._steps, self._before, self._done, self._foreseen = steps, done, done, seconds / steps
        self._measure_every = measure_every
        self._stream, self._clock = stream or sys.stderr, clock
        self._bar: tqdm[NoReturn] | None = None
        self._began = self._said = clock()
        self._first: float | None = None  # when the first step of this process was done
        self._facts: dict[str, float] = {}
        self._measured = -1  # the step that the held-out facts are of

    def show(self, row: Mapping[str, Any]) -> None:
        """A line of metrics. Raises nothing."""
        self._done = int(row["step"])
        self._facts |= {name: row[name] for name in SHOWN if name in row}
        if measured := not row.keys().isdisjoint(HELD_OUT):
            self._measured = self._done
        if "loss" in row and self._first is None:
            self._first = self._clock()
        if self._stream.isatty():
            self._show_bar()
        elif measured or (
            not self._to_be_measured() and (self._clock() - self._said >= QUIET_SECONDS or self._done == self._steps)
        ):
            self._said = self._clock()
            print(f"step {self._done} of {self._steps}: {self.words()}", file=self._stream, flush=True)

    def _to_be_measured(self) -> bool:
        """Whether the line with what is held out is still to come for this step: then both are one line."""
        every = self._measure_every
        return every > 0 and (self._done % every == 0 or self._done == self._steps) and self._measured < self._done

    def waiting(self) -> None:
        """A server of this machine is writing an answer. Raises nothing."""
        if self._bar is not None:
            self._bar.set_postfix_str("waiting while a server answers", refresh=True)

    def words(self) -> str:
        """Losses, speed, and the time that is left. Raises nothing."""
        said = []
        from ouvert.tuning import followed

        loss, held_out = followed([self._facts])
        if loss in self._facts:
            said.append(f"{loss} {self._facts[loss]:.3f}")
        if held_out in self._facts:
            then = "" if self._measured == self._done else f" after step {self._measured}"
            said.append(f"held out {self._facts[held_out]:.3f}{then}")
        if "tokens_per_second" in self._facts:
            said.append(f"{self._facts['tokens_per_second']:.0f} tokens/s")
        if self._done < self._steps:
            said.append(f"{seconds_in_words(self.left())} to go")
        return ", ".join(said)

    def left(self) -> float:
        """Seconds, by what steps took so far; by the plan before the first two. Raises nothing."""
        steps = self._done - self._before
        each = (self._clock() - self._began) / steps if steps > 1 else self._foreseen
        return each * (self._steps - self._done)

    def close(self) -> None:
        """Raises nothing; may be called twice."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show_bar(self) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(
                total=self._steps, initial=self._before, file=self._stream, dynamic_ncols=True,
                bar_format="{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} {postfix}",
            )  # fmt: skip
        self._bar.set_postfix_str(self.words(), refresh=False)
        self._bar.update(self._done - self._bar.n)
        self._bar.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
