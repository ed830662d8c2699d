"""Where each value of a program lies in memory while a step runs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ouvert.kernels._native as _native
from ouvert.kernels.trace import Value


@dataclass(eq=False)
class Step:
    """A native instruction to be: what it reads and writes, and how it is added once everything has its place.

    `in_place` maps a value it writes to one it reads that lies in the same place.
    """

    reads: list[Value]
    writes: list[Value]
    emit: Callable[[Callable[[Value], Any]], None]
    in_place: dict[Value, Value] = field(default_factory=dict)


class Arena:
    """Where each value lies in the arena: those that are not needed at the same time may share a place."""

    def __init__(self, steps: Sequence[Step], logits: Value, watched: Iterable[Value]) -> None:
        self.logits = logits
        self.home: dict[Value, Value] = {}  # values that lie in the same place have the same home
        for step in steps:
            for value in step.writes:
                self.home[value] = self.home[step.in_place[value]] if value in step.in_place else value
        self.offset: dict[Value, int] = {}
        self.bytes_per_token = 0
        self._place(steps, self._last_uses(steps, watched))
        self.made: dict[Value, Any] = {}

    def _last_uses(self, steps: Sequence[Step], watched: Iterable[Value]) -> dict[Value, int]:
        """The last step that needs each home; what is watched is needed until after the last."""
        last = {self.home[value]: n for n, step in enumerate(steps) for value in (*step.reads, *step.writes)}
        return last | {self.home[value]: len(steps) for value in watched}

    def _place(self, steps: Sequence[Step], last: dict[Value, int]) -> None:
        """Each home at the lowest offset where it fits beside those still needed."""
        taken: list[tuple[int, int, int]] = []  # (offset, bytes, last step), by offset
        for n, step in enumerate(steps):
            taken = [each for each in taken if each[2] >= n]
            for value in step.writes:
                if self.home[value] is not value or value is self.logits:
                    continue
                size = bytes_per_token(value)
                at = lowest_gap(taken, size)
                taken = sorted([*taken, (at, size, last[value])])
                self.offset[value] = at
                self.bytes_per_token = max(self.bytes_per_token, at + size)

    def native(self, value: Value) -> Any:
        """Where a value lies, as the native program wants it; each of the result's rows is returned."""
        if value not in self.made:
            rows = _native.Rows.tokens if value.rows == "tokens" else _native.Rows.wanted
            offset = -1 if value is self.logits else self.offset[self.home[value]]
            self.made[value] = _native.Value(rows, value.width, offset)
        return self.made[value]


def lowest_gap(taken: Sequence[tuple[int, int, int]], size: int) -> int:
    """The lowest offset with room for `size` bytes between places (offset, bytes, ...), which come by offset."""
    at = 0
    for offset, length, _ in taken:
        if offset - at >= size:
            break
        at = max(at, offset + length)
    return at


def bytes_per_token(value: Value) -> int:
    """How many bytes one token's row of a value takes in memory."""
    if value.code_bytes:
        return int(_native.activation_bytes_per_token(value.width, value.code_bytes))
    return 4 * value.width
