"""The order in which a suite's entries are asked: decided by a seed, groups in turn, whatever Python's version."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import TypeVar

Entry = TypeVar("Entry")


def drawn(seed: int, *names: str) -> bytes:
    """32 bytes that the seed and the names decide: to sort by, or to draw from. Raises nothing."""
    return sha256("\0".join((str(seed), *names)).encode("utf-8")).digest()


def in_turns(
    entries: Iterable[Entry], seed: int, id_of: Callable[[Entry], str], group_of: Callable[[Entry], str] = lambda _: ""
) -> list[Entry]:
    """All entries, each group giving one in turn until it has none left; order of groups, and within them, by the seed.

    Ids must differ within a group. Raises nothing.
    """
    groups: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        groups[group_of(entry)].append(entry)
    placed = [
        (turn, drawn(seed, group), entry)
        for group, members in groups.items()
        for turn, entry in enumerate(sorted(members, key=lambda entry: drawn(seed, group, id_of(entry))))
    ]
    return [entry for _, _, entry in sorted(placed, key=lambda place: place[:2])]


def wording_at(position: int, wordings: int, groups: int = 1) -> int:
    """Which of several wordings the entry at that position has: all as often, in every group. Raises nothing."""
    return (position + position // max(groups, 1)) % wordings
