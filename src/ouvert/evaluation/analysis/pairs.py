"""Two contestants on the same items, and what may be said of them.

The rules are fixed beforehand. Both at the floor: nothing is compared. Shown to differ by less than the margin:
equivalent, even where a difference is shown, since the plan calls a smaller one none. A difference that is shown in a
primary: better. Else: not shown, with the smallest difference that could have been.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ouvert.evaluation.analysis.marks import Mark, RowMarks
from ouvert.evaluation.analysis.shares import has_no_spread, mean_of
from ouvert.evaluation.comparison import Interval, Pair, Row, Verdict
from ouvert.evaluation.statistics import (
    cluster_t,
    clustered_p,
    design_effect,
    holm,
    is_equivalent,
    mcnemar_mid_p,
    ratio_interval,
    sign_flip_p,
    smallest_visible,
    tango_interval,
)

ALPHA = 0.05
EQUIVALENCE_LEVEL = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What a pair is worth, before it stands beside the others. `wide` has 95 %, `narrow` 90 %."""

    row: RowMarks
    first: str
    second: str
    differences: tuple[float, ...]
    clusters: tuple[str, ...]
    both: int
    neither: int
    wide: Interval
    narrow: Interval
    p: float

    @property
    def only_first(self) -> int:
        return sum(each > 0 for each in self.differences)

    @property
    def only_second(self) -> int:
        return sum(each < 0 for each in self.differences)

    @property
    def design_effect(self) -> float:
        return max(1.0, design_effect(self.differences, self.clusters))


def pairs_of(rows: Sequence[tuple[RowMarks, Row]]) -> tuple[Pair, ...]:
    """Every pair of contestants in every row, in the plan's order. Raises nothing.

    One who could not be asked any of the items is compared with nobody.
    """
    measured = [
        (pair, _at_floor(found))
        for marks, found in rows
        if marks.is_scored
        for first, second in combinations(marks.marks, 2)
        if (pair := _paired(marks, first, second)) is not None
    ]
    deciding = [place for place, (pair, _) in enumerate(measured) if pair.row.planned.primary]
    adjusted = dict(zip(deciding, holm([measured[place][0].p for place in deciding]), strict=True))
    # Each primary may get no more than its share of the error: what one of them could have shown at least.
    share = {place: ALPHA / len(deciding) for place in deciding}
    return tuple(
        _judged(pair, floors, adjusted.get(place), share.get(place, ALPHA))
        for place, (pair, floors) in enumerate(measured)
    )


def _paired(row: RowMarks, first: str, second: str) -> Paired | None:
    common = row.common(first, second)
    if not common or any(all(side.refused for side in sides) for sides in zip(*common, strict=True)):
        return None
    differences = tuple(one.value - other.value for one, other in common)
    clusters = tuple(one.cluster for one, _ in common)
    equal = [one.value for one, other in common if one.value == other.value]
    wide, narrow = (_interval(row, differences, clusters, level) for level in (0.95, EQUIVALENCE_LEVEL))
    return Paired(
        row=row, first=first, second=second, differences=differences, clusters=clusters,
        both=sum(value > 0 for value in equal), neither=sum(value == 0 for value in equal),
        wide=wide, narrow=narrow, p=_p(row, differences, clusters),
    )  # fmt: skip


def _interval(row: RowMarks, differences: Sequence[float], clusters: Sequence[str], level: float) -> Interval:
    """Tango's, with as many items as they are worth beside their clusters; of graded rows, by resampling clusters."""
    count = len(set(clusters))
    width = cluster_t(level, len(differences), count)
    if row.binary and count > 1:
        effect = max(1.0, design_effect(differences, clusters))
        more, fewer = sum(each > 0 for each in differences), sum(each < 0 for each in differences)
        return tango_interval(more / effect, fewer / effect, len(differences) / effect, level, width)
    if count == 1:
        return Interval(-1.0, 1.0)
    if has_no_spread(differences):
        # Resampling sees no spread: as if each cluster were one item that is right or wrong.
        always = mean_of(differences) * count
        return tango_interval(max(0.0, always), max(0.0, -always), count, level)
    return ratio_interval(differences, None, clusters, level)


def _p(row: RowMarks, differences: Sequence[float], clusters: Sequence[str]) -> float:
    if not row.binary:
        return sign_flip_p(differences, clusters)
    p = mcnemar_mid_p(sum(each > 0 for each in differences), sum(each < 0 for each in differences))
    count = len(set(clusters))
    return p if count == len(clusters) else clustered_p(p, design_effect(differences, clusters), count)


def _judged(pair: Paired, floors: Mapping[str, bool], adjusted: float | None, alpha: float) -> Pair:
    return Pair(
        row=pair.row.planned.row, first=pair.first, second=pair.second, n=len(pair.differences), both=pair.both,
        only_first=pair.only_first, only_second=pair.only_second, neither=pair.neither,
        difference=mean_of(pair.differences), interval=pair.wide, p=pair.p if pair.row.binary else None,
        p_adjusted=adjusted, margin=pair.row.planned.margin, visible=_visible(pair, alpha),
        design_effect=pair.design_effect, verdict=_verdict(pair, floors, adjusted),
    )  # fmt: skip


def _verdict(pair: Paired, floors: Mapping[str, bool], adjusted: float | None) -> Verdict:
    if floors[pair.first] and floors[pair.second]:
        return "floor"
    if is_equivalent(pair.narrow, pair.row.planned.margin):
        return "equivalent"
    # The interval must say it too: nobody is to read "better" beside an interval that holds 0.
    if adjusted is None or adjusted > ALPHA or pair.wide.low <= 0 <= pair.wide.high:
        return "not_shown"
    return "first_better" if mean_of(pair.differences) > 0 else "second_better"


def _visible(pair: Paired, alpha: float) -> float:
    """The smallest difference that could have been shown; of graded rows by the spread of the differences."""
    n = len(pair.differences)
    discordant = mean_of([each * each for each in pair.differences])  # of right and wrong: the share that differs
    if len(set(pair.clusters)) == 1:
        return 1.0
    return smallest_visible(n, discordant, alpha=alpha, design_effect=pair.design_effect)


def _at_floor(row: Row) -> dict[str, bool]:
    return {score.contestant: score.floor for score in row.scores}


def shown_difference(first: Sequence[Mark], second: Sequence[Mark]) -> float:
    """p of the difference between two lists of marks on the same items, by sign flips over clusters. Raises nothing for
    at least one item."""
    differences = [one.value - other.value for one, other in zip(first, second, strict=True)]
    return 1.0 if not any(map(math.fabs, differences)) else sign_flip_p(differences, [one.cluster for one in first])
