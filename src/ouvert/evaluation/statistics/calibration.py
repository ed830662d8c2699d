"""Can a contestant's confidence be believed?"""

from collections.abc import Sequence

import numpy as np

from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.statistics.clusters import Floats, Integers, bootstrap_interval, checked

BINS = 10
COVERAGES = tuple(tenth / 10 for tenth in range(1, 11))


def reliability_bins(
    confidences: Sequence[float], right: Sequence[bool], bins: int = BINS
) -> tuple[tuple[float, float, int], ...]:
    """(mean confidence, share right, n) of bins of equal mass, the least sure first.

    Equal confidences stay together, so a contestant that always says 90 has one bin. Raises ValueError for nothing.
    """
    sure, hits = checked(confidences, "confidences"), checked(right, "right answers")
    means, shares, sizes = _bins(sure, hits, bins)
    return tuple((float(mean), float(share), int(n)) for mean, share, n in zip(means, shares, sizes, strict=True))


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = BINS) -> float:
    """ECE: the mean distance between confidence and share right, over bins of equal mass, weighted by their items.

    Chance alone makes it greater than 0 with few items; its interval takes most of that back. Raises ValueError
    for nothing.

    Naeini, Cooper, Hauskrecht (AAAI 2015); equal mass: Nixon et al., arXiv 1904.01685.
    """
    return _error(checked(confidences, "confidences"), checked(right, "right answers"), bins)


def calibration_error_interval(
    confidences: Sequence[float], right: Sequence[bool], clusters: Sequence[str], seed: int = 0
) -> Interval:
    """95 % of the ECE, by resampling clusters.

    A resample has the bias of the ECE twice, the estimate once: so the resamples' percentiles are mirrored at the
    estimate (the "basic" bootstrap interval: Davison and Hinkley, Bootstrap Methods, 1997, 5.2), which takes most of
    it back. Raises ValueError for nothing.
    """
    sure, hits = checked(confidences, "confidences"), checked(right, "right answers")

    def error(items: Integers) -> float:
        return _error(sure[items], hits[items], BINS)

    found = _error(sure, hits, BINS)
    resampled, _ = bootstrap_interval(error, clusters, seed=seed, times=1000)
    low, high = (min(1.0, max(0.0, 2 * found - edge)) for edge in (resampled.high, resampled.low))
    return Interval(low, max(high, found))


def brier_score(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """Mean squared distance between confidence and what came true: 0 is best, 0.25 is "always 50 %". Raises ValueError
    for nothing.

    Brier, Monthly Weather Review 78 (1950).
    """
    apart = checked(confidences, "confidences") - checked(right, "right answers")
    return float(np.mean(apart * apart))


def risk_coverage(confidences: Sequence[float], right: Sequence[bool]) -> tuple[tuple[float, float], ...]:
    """(share answered, share right of those) by tenths, if it may stay silent where it is least sure.

    Of answers that are equally sure, any part has the same share right. Raises ValueError for nothing.

    El-Yaniv and Wiener, On the foundations of noise-free selective classification (JMLR 11, 2010).
    """
    sure, hits = checked(confidences, "confidences"), checked(right, "right answers")
    _, level = np.unique(-sure, return_inverse=True)  # the surest first
    sizes, sums = np.bincount(level), np.bincount(level, hits)
    answered = np.concatenate([[0.0], np.cumsum(sizes)])
    earned = np.concatenate([[0.0], np.cumsum(sums)])
    wanted = np.array(COVERAGES) * len(sure)
    shares = np.interp(wanted, answered, earned) / wanted
    return tuple((coverage, float(share)) for coverage, share in zip(COVERAGES, shares, strict=True))


def _error(sure: Floats, hits: Floats, bins: int) -> float:
    means, shares, sizes = _bins(sure, hits, bins)
    return float(np.abs(means - shares) @ sizes / len(sure))


def _bins(sure: Floats, hits: Floats, bins: int) -> tuple[Floats, Floats, Integers]:
    """Mean confidence, share right and size of each bin that is not empty."""
    _, level, sizes = np.unique(sure, return_inverse=True, return_counts=True)
    middles = np.cumsum(sizes) - sizes / 2  # the middle rank of each confidence
    place = np.minimum((middles * bins / len(sure)).astype(np.int64), bins - 1)[level]
    counts = np.bincount(place, minlength=bins)
    some = counts > 0
    means, shares = np.bincount(place, sure, bins)[some] / counts[some], np.bincount(place, hits, bins)[some]
    return means, shares / counts[some], counts[some]
