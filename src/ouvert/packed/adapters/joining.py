"""From additions to our weights to additions to another program's matrices, which may be several of ours, and back.

An addition to a matrix is as exact as those to its parts: where these have different a, their ranks stand one after the
other, and b is zero where a part has no share in a rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ouvert.arithmetic import LowRank
from ouvert.models import Counterpart

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Addition:
    """What is added to a matrix of another program: scale · b a, of all of its experts if it has any.

    a (rank, inputs), b (outputs, rank), or with an axis of experts before. `ranks` says how many of the ranks are each
    part's, by our names, where they stand one after the other; empty where all parts share them.
    """

    a: Array
    b: Array
    scale: float
    ranks: Mapping[str, int]

    @property
    def rank(self) -> int:
        """Of each expert, if there are any. Raises nothing."""
        return int(self.a.shape[-2])


def most_numbers(known: Sequence[Counterpart]) -> int:
    """More than these no addition of low rank to these matrices has: four times their own, and a million."""
    return 4 * sum(each.outputs * each.inputs * (each.experts or 1) for each in known) + 1_000_000


def joined(matrix: Counterpart, pairs: Mapping[str, LowRank]) -> Addition | None:
    """The addition to `matrix` that does what `pairs` do to its parts; None if they do nothing to any.

    Experts that are not adapted get zeros. Raises nothing.
    """
    there = [(part, pairs[part.ours]) for part in matrix.parts if part.ours in pairs]
    if not there:
        return None
    _, first = there[0]
    alike = all(
        pair.scale == first.scale and pair.experts == first.experts and np.array_equal(pair.a, first.a)
        for _, pair in there
    )
    shared = len(matrix.parts) == len(there) and alike
    rank = first.rank if shared else sum(pair.rank for _, pair in there)
    before = () if matrix.experts is None else (matrix.experts,)
    a = np.zeros((*before, rank, matrix.inputs), np.float32)
    b = np.zeros((*before, matrix.outputs, rank), np.float32)
    start = 0
    for part, pair in there:
        stop = start + pair.rank
        adapted = () if pair.experts is None else (list(pair.experts),)
        a[(*adapted, slice(start, stop))] = pair.a
        placed = np.zeros((*pair.b.shape[:-2], matrix.outputs, pair.rank), np.float32)
        placed[..., part.rows, :] = pair.b if pair.scale == first.scale else pair.b * (pair.scale / first.scale)
        b[(*adapted, slice(None), slice(start, stop))] += placed
        start = start if shared else stop
    several = len(matrix.parts) > 1 and not shared
    return Addition(a, b, first.scale, {part.ours: pair.rank for part, pair in there} if several else {})


def parted(matrix: Counterpart, addition: Addition) -> dict[str, LowRank]:
    """What `addition` does to each part of `matrix`, by our names: the inverse of `joined`.

    Where nobody says which ranks are whose, a part has those in which its b is not zero. Experts whose a and b are zero
    are not adapted. Raises ValueError if `ranks` does not fit the numbers.
    """
    taken = whose(matrix, addition)
    found = {}
    for part, ranks in zip(matrix.parts, taken, strict=True):
        if not len(ranks):
            continue
        a = np.ascontiguousarray(addition.a[..., ranks, :])
        b = np.ascontiguousarray(addition.b[..., part.rows, :][..., ranks])
        experts = None
        if matrix.experts is not None:
            adapted = np.flatnonzero(a.any((1, 2)) | b.any((1, 2)))
            if not len(adapted):
                continue
            experts, a, b = tuple(adapted.tolist()), a[adapted], b[adapted]
        found[part.ours] = LowRank(a, b, addition.scale, experts)
    return found


def whose(matrix: Counterpart, addition: Addition) -> Sequence[Array]:
    """The ranks of each part. Raises ValueError as `parted` does."""
    every = np.arange(addition.rank)
    if len(matrix.parts) == 1:
        return [every]
    axes = tuple(range(addition.b.ndim - 1))
    used: list[Array] = [np.any(addition.b[..., part.rows, :], axes) for part in matrix.parts]
    if not addition.ranks:
        return [every[each] for each in used]
    taken, start = [], 0
    for part, uses in zip(matrix.parts, used, strict=True):
        stop = start + addition.ranks.get(part.ours, 0)
        if uses[:start].any() or uses[stop:].any():
            raise ValueError(
                f"{matrix.name}: {part.ours} is said to have the ranks {start} to {stop} of {addition.rank}, but b is "
                "not zero outside of them."
            )
        taken.append(every[start:stop])
        start = stop
    if start != addition.rank:
        raise ValueError(f"{matrix.name}: its parts are said to have {start} ranks, and it has {addition.rank}.")
    return taken
