"""Steps of a loaded model that keep named values: what looks inside computes with the very weights that serve."""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from ouvert.engine.loop import Loop
from ouvert.engine.runners.interface import RunnerSequence, Wanted
from ouvert.engine.variant import Variant


class Watching:
    """`LocalEngine.watching` makes one; it is used as a `kernels.Program` is, and closed in the end.

    Its steps take their turn among those of answers, in the engine's thread and with its threads and caches. Closing
    gives back the sequences that it made. One caller at a time. Making one raises nothing.
    """

    def __init__(self, engine: object, loop: Loop, names: Iterable[str], variant: Variant, held: object) -> None:
        self.names = frozenset(names)
        self._engine, self._held = engine, held  # live as long as somebody looks inside
        self._loop, self._variant = loop, variant
        self._sequences: list[RunnerSequence] = []
        self._seen: dict[str, np.ndarray] = {}

    def new_sequence(self, capacity: int) -> RunnerSequence:
        """A sequence of up to `capacity` tokens, computed with the variant. Raises EngineError if the engine was
        closed."""
        self._sequences.append(self._loop.lend(capacity, self._variant))
        return self._sequences[-1]

    def step(self, work: Sequence[tuple[RunnerSequence, np.ndarray]], wanted: Wanted) -> np.ndarray:
        """Append ids (int32) to sequences of this object, and compute: float32 (rows, vocabulary), as
        `kernels.Program.step`.

        Raises EngineError where there is no memory for it, or the engine was closed.
        """
        rows, self._seen = self._loop.compute_watched(work, wanted, self.names)
        return rows

    def seen(self, name: str) -> np.ndarray:
        """What the last step left of a value: (tokens, width). Raises LookupError for a name that is not watched, and
        before the first step."""
        if name not in self._seen:
            raise LookupError(f"seen: {name} was not kept; the last step kept {sorted(self._seen)}. Watch it.")
        return self._seen[name]

    def close(self) -> None:
        """Give the sequences back. May be called twice. Raises nothing."""
        while self._sequences:
            self._loop.give_back(self._sequences.pop())
        self._seen = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
