"""Items of one passage, subject or template are not independent: what that does to a mean, and intervals by resampling.

Resampling draws whole clusters. The draws come from the raw 64-bit words of PCG64, whose stream NumPy promises never to
change, so the same scores have the same interval with every NumPy.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.statistics.student import NORMAL, two_sided_t

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RESAMPLES = 2000
BLOCK = 1 << 20  # indices drawn at once: 8 MiB


def numbered(clusters: Sequence[str]) -> tuple[Integers, int]:
    """Each item's cluster as a number, in the order of their first item, and how many clusters there are."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in clusters], dtype=np.int64), len(numbers)


def draws(count: int, seed: int, times: int = RESAMPLES) -> Iterator[Integers]:
    """`times` resamples of `count` things, with replacement, as blocks of shape (resamples, count)."""
    words = np.random.PCG64(seed)
    rows = max(1, BLOCK // count)
    for start in range(0, times, rows):
        shape = (min(rows, times - start), count)
        raw = np.asarray(words.random_raw(shape[0] * count), dtype=np.uint64).reshape(shape)
        yield ((raw >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)).astype(np.int64)


def ratio_interval(
    tops: Sequence[float],
    bottoms: Sequence[float] | None,
    clusters: Sequence[str],
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Of sum(tops) / sum(bottoms) over items: a mean where `bottoms` is None, bits over bytes, seconds over right ones.

    An edge is infinite where a resample has nothing below the line. Of one cluster the interval is what that cluster
    says, without width: the caller says that nothing can be said. Raises nothing for at least one item.
    """
    number, count = numbered(clusters)
    above = np.bincount(number, np.asarray(tops, dtype=np.float64), count)
    below = np.bincount(number, None if bottoms is None else np.asarray(bottoms, dtype=np.float64), count)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = [above[block].sum(axis=1) / below[block].sum(axis=1) for block in draws(count, seed)]
    return percentile_interval(np.nan_to_num(np.concatenate(drawn), nan=math.inf, posinf=math.inf), count, level)


def bootstrap_interval(
    statistic: Callable[[Integers], float],
    clusters: Sequence[str],
    level: float = 0.95,
    seed: int = 0,
    times: int = RESAMPLES,
) -> tuple[Interval, Floats]:
    """Of any statistic of the items' indices, and its value in each resample. Raises what `statistic` raises."""
    number, count = numbered(clusters)
    members = [np.flatnonzero(number == cluster) for cluster in range(count)]
    values = [
        statistic(np.concatenate([members[cluster] for cluster in row]))
        for block in draws(count, seed, times)
        for row in block
    ]
    estimates = np.asarray(values, dtype=np.float64)
    return percentile_interval(estimates, count, level), estimates


def percentile_interval(estimates: Floats, clusters: int, level: float) -> Interval:
    """The percentiles of resampled estimates, taken further out where clusters are few.

    Plain percentiles are too narrow for few clusters, by the root of (m - 1) / m and by the normal distribution in
    place of Student's t. BCa mends skewness, not this, and is undefined where every resample is the same, which for
    scores of 0 and 1 happens. So: Hesterberg, What teachers should know about the bootstrap (arXiv 1411.5279), the
    expanded percentile interval. Raises nothing.
    """
    if clusters > 1:
        level = 1 - 2 * NORMAL.cdf(-math.sqrt(clusters / (clusters - 1)) * two_sided_t(level, clusters - 1))
    ordered = np.sort(estimates)
    # Order statistics, not interpolated: an edge may be infinite.
    last = len(ordered) - 1
    return Interval(
        float(ordered[math.floor(last * (1 - level) / 2)]), float(ordered[math.ceil(last * (1 + level) / 2)])
    )


def design_effect(values: Sequence[float], clusters: Sequence[str]) -> float:
    """By how much clusters widen the variance of the mean: cluster-robust over that of independent items. 1 where all
    values are the same, and where every item is a cluster of its own. Raises nothing for at least one item.

    Kish, Survey Sampling (1965), 5.4; for evaluations Miller, arXiv 2411.00640, section 2.2.
    """
    number, count = numbered(clusters)
    n = len(values)
    apart = np.asarray(values, dtype=np.float64) - float(np.mean(values))
    alone = float(apart @ apart) / (n * (n - 1)) if n > 1 else 0.0
    if count in (1, n) or alone < 1e-18:
        return 1.0
    sums = np.bincount(number, apart, count)
    return float(sums @ sums) / (n * n) * count / (count - 1) / alone


def cluster_t(level: float, items: int, clusters: int) -> float | None:
    """Standard errors to either side of an interval over clusters: Student's t; None where no items share one."""
    return None if clusters == items else two_sided_t(level, max(1, clusters - 1))


def checked(values: Any, name: str) -> Floats:
    """As floats. Raises ValueError for what is empty or not finite."""
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise ValueError(f"{name}: {numbers.size} numbers, expected at least one, all finite.")
    return numbers
