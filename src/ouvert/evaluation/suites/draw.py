"""Choices that a seed decides, the same on every machine and in every version of Python."""

from collections.abc import Sequence
from hashlib import sha256
from random import Random
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """A stream of choices. The same `key` gives the same choices; another key gives others, independent of them.

    Only `Random.random` is used below: Python promises that its numbers never change, and promises it of no other.
    """

    def __init__(self, *key: str | int) -> None:
        digest = sha256("\x1f".join(str(part) for part in key).encode()).digest()
        self._random = Random(int.from_bytes(digest, "big"))  # noqa: S311 (for questions, not for secrets)

    def below(self, end: int) -> int:
        """An integer from 0 to `end` - 1."""
        return int(self._random.random() * end)

    def between(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both possible."""
        return low + self.below(high - low + 1)

    def one(self, options: Sequence[T]) -> T:
        """One of the options. Raises IndexError where there are none."""
        return options[self.below(len(options))]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """`count` of the options, none twice, in an order that is drawn too. Raises IndexError for too few of them."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(count)]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All of them in another order (or, by chance, the same)."""
        return self.some(options, len(options))
