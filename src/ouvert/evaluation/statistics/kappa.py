"""How far two judges agree beyond chance."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.statistics.student import two_sided_z


@dataclass(frozen=True, slots=True)
class Kappa:
    """1: they always agree; 0: as often as by chance. `interval`: 95 %."""

    value: float
    interval: Interval


def cohens_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> Kappa:
    """Of two judges' verdicts on the same items. Two judges who both say one thing only, the same: 1, though such
    verdicts hold no information, so the interval is -1 to 1. Raises ValueError for lists that are empty or differ in
    length.

    Cohen (Educational and Psychological Measurement 20, 1960); the standard error: Fleiss, Cohen and Everitt
    (Psychological Bulletin 72, 1969).
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"kappa of {len(first)} and {len(second)} verdicts: both judges give one on every item.")
    names = {name: place for place, name in enumerate(dict.fromkeys([*first, *second]))}
    table = np.zeros((len(names), len(names)))
    for one, other in zip(first, second, strict=True):
        table[names[one], names[other]] += 1 / len(first)
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    agreed, chance = float(np.trace(table)), float(rows @ columns)
    if chance >= 1 - 1e-12:
        return Kappa(1.0, Interval(-1.0, 1.0))
    value = (agreed - chance) / (1 - chance)
    reach = two_sided_z(0.95) * math.sqrt(_variance(table, value, chance) / len(first))
    return Kappa(value, Interval(max(-1.0, value - reach), min(1.0, value + reach)))


def _variance(table: np.ndarray, value: float, chance: float) -> float:
    """Of kappa, times the number of items."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    both = rows[:, None] + columns[None, :]
    diagonal = float(np.sum(np.diag(table) * (1 - np.diag(both) * (1 - value)) ** 2))
    # Of a cell (i, j) off the diagonal: what the other judge says i, and this one j.
    crossed = columns[:, None] + rows[None, :]
    off = (1 - value) ** 2 * float(np.sum((table - np.diag(np.diag(table))) * crossed**2))
    return max(0.0, diagonal + off - (value - chance * (1 - value)) ** 2) / (1 - chance) ** 2
