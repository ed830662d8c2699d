"""Text that knows whose it is, character by character, while a template works on it.

An OwnedText is the string it looks like: it compares, sorts, slices and prints as `str` does, and a template cannot
tell the two apart. Beside its characters it keeps runs of owners. Every operation computes its text with `str` itself;
the owners are worked out beside it, and where they cannot be, the whole result counts as text from outside. So owners
never change what is written, and text from outside never becomes the template's own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence, ValuesView
from itertools import chain
from typing import Any, SupportsIndex

Runs = tuple[tuple[int, int], ...]  # (characters, owner), one after the other

TEMPLATE = 0  # what the template itself, or this program, wrote; owners above are whose text was supplied
UNTRACED = -1  # text whose way here could not be followed


class OwnedText(str):
    """A string with its runs, whose lengths add up to its own. Runs that follow each other have different owners."""

    __slots__ = ("runs",)
    runs: Runs

    def __new__(cls, text: str, runs: Runs) -> "OwnedText":
        made = super().__new__(cls, text)
        made.runs = runs
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnedText, (plain(self), self.runs)

    def __str__(self) -> str:  # so that str(...) in compiled templates keeps the owners
        return self

    def __iter__(self) -> Iterator[str]:
        characters = iter(plain(self))
        for length, owner in self.runs:
            for _ in range(length):
                yield OwnedText(next(characters), ((1, owner),))

    # --- pieces ---

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        found = str.__getitem__(self, key)
        if len(self.runs) <= 1:
            return whole(found, self.runs[0][1] if self.runs else TEMPLATE)
        if not isinstance(key, slice):
            place = range(len(self))[key]
            return self.cut(place, place + 1)
        start, stop, step = key.indices(len(self))
        if step == 1:
            return self.cut(start, max(start, stop))
        owners = list(chain.from_iterable([owner] * length for length, owner in self.runs))[key]
        return OwnedText(found, merged((1, owner) for owner in owners))

    def cut(self, start: int, stop: int) -> "OwnedText":
        """Characters `start` to `stop`, both within the text."""
        found = str.__getitem__(self, slice(start, stop))
        if len(self.runs) <= 1:
            return whole(found, self.runs[0][1] if self.runs else TEMPLATE)
        inside: list[tuple[int, int]] = []
        at = 0
        for length, owner in self.runs:
            share = min(stop, at + length) - max(start, at)
            if share > 0:
                inside.append((share, owner))
            at += length
            if at >= stop:
                break
        return OwnedText(found, tuple(inside))

    def strip(self, chars: str | None = None, /) -> str:
        return self._without_ends(len(str.lstrip(self, chars)), len(str.strip(self, chars)))

    def lstrip(self, chars: str | None = None, /) -> str:
        left = len(str.lstrip(self, chars))
        return self._without_ends(left, left)

    def rstrip(self, chars: str | None = None, /) -> str:
        return self.cut(0, len(str.rstrip(self, chars)))

    def _without_ends(self, without_left: int, left: int) -> "OwnedText":
        start = len(self) - without_left
        return self.cut(start, start + left)

    def removeprefix(self, prefix: str, /) -> str:
        return self.cut(len(self) - len(str.removeprefix(self, prefix)), len(self))

    def removesuffix(self, suffix: str, /) -> str:
        return self.cut(0, len(str.removesuffix(self, suffix)))

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._located(str.split(self, sep, maxsplit), sep)

    def rsplit(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        return self._located(str.rsplit(self, sep, maxsplit), sep)

    def _located(self, parts: list[str], sep: str | None) -> list[str]:
        """The parts with their owners: between two stands `sep`, or white space, with which no later part begins."""
        found: list[str] = []
        at = 0
        for part in parts:
            start = at if sep is not None else str.index(self, part, at)
            at = start + len(part)
            found.append(self.cut(start, at))
            at += len(sep or "")
        return found

    def splitlines(self, keepends: bool = False) -> list[str]:
        found: list[str] = []
        at = 0
        for line, ended in zip(str.splitlines(self, keepends), str.splitlines(self, True), strict=True):
            found.append(self.cut(at, at + len(line)))
            at += len(ended)
        return found

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        return self._in_three(*map(len, str.partition(self, sep)))

    def rpartition(self, sep: str, /) -> tuple[str, str, str]:
        return self._in_three(*map(len, str.rpartition(self, sep)))

    def _in_three(self, before: int, mark: int, after: int) -> tuple[str, str, str]:
        return self.cut(0, before), self.cut(before, before + mark), self.cut(before + mark, before + mark + after)

    # --- more text ---

    def __add__(self, other: str, /) -> str:
        if hasattr(other, "__html__"):
            return NotImplemented  # markup escapes what it is added to
        str.__add__(self, other)  # complains as str does
        return joined((self, other))

    def __radd__(self, other: str) -> str:
        return joined((other, self)) if isinstance(other, str) else NotImplemented

    def __mul__(self, count: SupportsIndex, /) -> str:
        return repeated(self, str.__mul__(self, count))

    def __rmul__(self, count: SupportsIndex, /) -> str:
        return repeated(self, str.__mul__(self, count))

    def join(self, items: Iterable[str], /) -> str:
        pieces = list(items)
        str.join(self, pieces)  # complains as str does
        return joined(between(pieces, self))

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> str:
        truth = str.replace(self, old, new, count)
        return joined(between(self.split(old, count), new)) if old else coarse(truth, self, new)

    def center(self, width: SupportsIndex, fill: str = " ", /) -> str:
        truth = str.center(self, width, fill)
        padding = len(truth) - len(self)
        left = padding // 2 + (padding & len(truth) & 1)  # as Python shares it
        return joined((padded(fill, left), self, padded(fill, padding - left)))

    def ljust(self, width: SupportsIndex, fill: str = " ", /) -> str:
        return joined((self, padded(fill, len(str.ljust(self, width, fill)) - len(self))))

    def rjust(self, width: SupportsIndex, fill: str = " ", /) -> str:
        return joined((padded(fill, len(str.rjust(self, width, fill)) - len(self)), self))

    def zfill(self, width: SupportsIndex, /) -> str:
        return coarse(str.zfill(self, width), self)

    # --- other letters ---

    def capitalize(self) -> str:
        return self._letters(str.capitalize(self))

    def casefold(self) -> str:
        return self._letters(str.casefold(self))

    def lower(self) -> str:
        return self._letters(str.lower(self))

    def swapcase(self) -> str:
        return self._letters(str.swapcase(self))

    def title(self) -> str:
        return self._letters(str.title(self))

    def upper(self) -> str:
        return self._letters(str.upper(self))

    def _letters(self, truth: str) -> "OwnedText":
        """No letter is dropped by a change of case, so a text that did not grow has each one in its place."""
        return OwnedText(truth, self.runs) if len(truth) == len(self) else coarse(truth, self)


class OwnedInt(int):
    """A supplied number. What it becomes when it is written belongs to its owner."""

    owner: int

    def __new__(cls, value: int, owner: int) -> "OwnedInt":
        made = super().__new__(cls, value)
        made.owner = owner
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnedInt, (int(self), self.owner)


class OwnedFloat(float):
    """A supplied number with a fraction."""

    owner: int

    def __new__(cls, value: float, owner: int) -> "OwnedFloat":
        made = super().__new__(cls, value)
        made.owner = owner
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return OwnedFloat, (float(self), self.owner)


# --- making texts ---


def plain(text: str) -> str:
    """The same characters as a string of Python's own, whoever they belong to."""
    return str.__str__(text)


def whole(text: str, owner: int) -> OwnedText:
    """`text` as one owner's."""
    return OwnedText(text, ((len(text), owner),) if text else ())


def runs_of(text: str) -> Runs:
    """The owners of any string. One that nothing is known of is text from outside."""
    runs = getattr(text, "runs", None)
    if runs is None:
        return ((len(text), UNTRACED),) if text else ()
    return runs  # type: ignore[no-any-return]


def merged(runs: Iterable[tuple[int, int]]) -> Runs:
    """Runs of one owner that follow each other become one."""
    found: list[tuple[int, int]] = []
    for length, owner in runs:
        if found and found[-1][1] == owner:
            found[-1] = (found[-1][0] + length, owner)
        elif length:
            found.append((length, owner))
    return tuple(found)


def joined(pieces: Iterable[str]) -> OwnedText:
    """The pieces one after the other."""
    listed = list(pieces)
    return OwnedText("".join(map(plain, listed)), merged(chain.from_iterable(map(runs_of, listed))))


def padded(fill: str, count: int) -> OwnedText:
    """`fill` so many times. A space that nobody gave is the template's."""
    owner = TEMPLATE if fill == " " else common_owner([fill])
    return whole(plain(fill) * count, owner)


def between(pieces: Sequence[str], mark: str) -> Iterator[str]:
    """The pieces with `mark` between two."""
    for number, piece in enumerate(pieces):
        if number:
            yield mark
        yield piece


def repeated(text: OwnedText, truth: str) -> OwnedText:
    """`truth` is `text` so many times over."""
    if len(text.runs) <= 1:
        return whole(truth, text.runs[0][1] if text.runs else TEMPLATE)
    return OwnedText(truth, merged(text.runs * (len(truth) // len(text))))


def common_owner(values: Iterable[Any]) -> int:
    """Whose a text is that was made of these values in a way nobody followed: the template's if all of it was."""
    owners: set[int] = set()
    pending = list(values)
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            owners.update(owner for _, owner in runs_of(value))
        elif isinstance(value, OwnedInt | OwnedFloat):
            owners.add(value.owner)
        elif isinstance(value, list | tuple | ValuesView):
            pending.extend(value)
        elif isinstance(value, Mapping):
            pending.extend(chain(value.keys(), value.values()))
        elif not (value is None or isinstance(value, bool | int | float)):
            owners.add(UNTRACED)
    owners.discard(TEMPLATE)
    return owners.pop() if len(owners) == 1 else UNTRACED if owners else TEMPLATE


def coarse(truth: str, *inputs: Any) -> OwnedText:
    """`truth` as text of whoever owns what it was made of."""
    return whole(truth, common_owner(inputs))
