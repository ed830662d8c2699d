"""Which sequences are computed together: bins of at most so many tokens."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bin:
    """`members` are places in what was packed; member n has the tokens from `boundaries[n]` to `boundaries[n + 1]`."""

    members: tuple[int, ...]
    boundaries: tuple[int, ...]


def bins_of(lengths: Sequence[int], most: int) -> tuple[Bin, ...]:
    """First fit, the longest first: the same for the same lengths. A sequence longer than `most` is alone in its bin.
    Raises nothing."""
    members: list[list[int]] = []
    filled: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        size = lengths[place]
        number = next((n for n, tokens in enumerate(filled) if tokens + size <= most), None)
        if number is None:
            members.append([place])
            filled.append(size)
        else:
            members[number].append(place)
            filled[number] += size
    return tuple(bin_of(sorted(each), lengths) for each in members)


def bin_of(members: Sequence[int], lengths: Sequence[int]) -> Bin:
    boundaries = [0]
    for place in members:
        boundaries.append(boundaries[-1] + lengths[place])
    return Bin(tuple(members), tuple(boundaries))


def pieces_of(lengths: Sequence[int], most: int) -> list[list[tuple[int, int, int]]]:
    """All tokens in their order, at most so many in each piece: (sequence, from, to). Raises nothing."""
    pieces: list[list[tuple[int, int, int]]] = []
    room = 0
    for n, length in enumerate(lengths):
        start = 0
        while start < length:
            if not room:
                pieces.append([])
                room = most
            stop = min(start + room, length)
            pieces[-1].append((n, start, stop))
            room -= stop - start
            start = stop
    return pieces
