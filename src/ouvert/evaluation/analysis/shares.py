"""The interval of a mean score, whatever the scores are: right or wrong, graded, several answers, clusters."""

from collections.abc import Sequence

from ouvert.evaluation.analysis.marks import Mark
from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.statistics import cluster_t, design_effect, ratio_interval, wilson_interval


def mean_of(values: Sequence[float]) -> float:
    """Raises ZeroDivisionError for nothing."""
    return sum(values) / len(values)


def has_no_spread(values: Sequence[float]) -> bool:
    """Whether all are the same, but for rounding. Raises ValueError for nothing."""
    return max(values) - min(values) < 1e-9


def share_interval(values: Sequence[float], clusters: Sequence[str], level: float = 0.95) -> Interval:
    """Of a mean of values from 0 to 1; 0 to 1 of none. Raises nothing.

    Right and wrong alone: Wilson's, with as many items as they are worth beside their clusters. Else, by resampling
    clusters; where all values are the same or all items are of one cluster, resampling sees no spread, and Wilson's
    with one item a cluster is on the safe side: no values from 0 to 1 with that mean spread more.
    """
    count = len(set(clusters))
    if not values:
        return Interval(0.0, 1.0)
    if set(values) <= {0.0, 1.0} and count > 1:
        items = len(values) / max(1.0, design_effect(values, clusters))
        return wilson_interval(mean_of(values) * items, items, level, cluster_t(level, len(values), count))
    if count == 1 or has_no_spread(values):
        return wilson_interval(mean_of(values) * count, count, level)
    return ratio_interval(values, None, clusters, level)


def interval_of(marks: Sequence[Mark]) -> Interval:
    """Of the mean of these marks. Raises nothing."""
    return share_interval([mark.value for mark in marks], [mark.cluster for mark in marks])
