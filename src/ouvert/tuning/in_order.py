"""Turns: what several threads have computed side by side is added up in one order."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class GivenUpError(Exception):
    """Another part failed, so that the sum is of no use. What failed there is what to tell."""


class InOrder:
    """For each of some places, the parts 0, 1, 2 … come one after the other, whoever is ready first. Making one raises
    nothing."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._changed = threading.Condition()
        self._given_up = False

    @contextmanager
    def turn(self, place: int, part: int) -> Iterator[None]:
        """Waits until all earlier parts had theirs at this place. Raises GivenUpError where one of them never will."""
        with self._changed:
            self._changed.wait_for(lambda: self._given_up or self._next.get(place, 0) == part)
            if self._given_up:
                raise GivenUpError(f"adding part {part} at {place}: another part failed before.")
        yield
        with self._changed:
            self._next[place] = part + 1
            self._changed.notify_all()

    def give_up(self) -> None:
        """A part failed: those that wait end. Raises nothing."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
