"""The difference between two shares that were measured on the same items, with its interval."""

import math
from collections.abc import Callable

from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.statistics.student import two_sided_z


def tango_interval(
    only_first: float, only_second: float, n: float, level: float = 0.95, width: float | None = None
) -> Interval:
    """First minus second. Has width even where no item differed, and none is beyond -1 and 1.

    The counts need not be whole: those of an effective number of items are not. `width`: standard errors to either
    side, where they are not those of the normal distribution. Of no items at all, -1 to 1. Raises nothing.

    Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample design
    (Statistics in Medicine 17, 1998).
    """
    if n <= 0:
        return Interval(-1.0, 1.0)
    z = two_sided_z(level) if width is None else width
    found = (only_first - only_second) / n

    def score(difference: float) -> float:
        return tango_score(only_first, only_second, n, difference)

    return Interval(_edge(-1.0, found, lambda at: score(at) > z), _edge(1.0, found, lambda at: score(at) < -z))


def tango_score(only_first: float, only_second: float, n: float, difference: float) -> float:
    """How many standard errors the difference that was found lies above `difference`, if that were the true one. The
    standard error is the one that is likeliest under that difference. Raises nothing."""
    above = only_first - only_second - n * difference
    b = -only_first - only_second + (2 * n - only_first + only_second) * difference
    c = -only_second * difference * (1 - difference)
    # The likeliest share of items that only the second gets right, given the difference.
    share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    if abs(above) < 1e-12 * n:
        return 0.0
    return above / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, above)


def _edge(outside: float, inside: float, is_excluded: Callable[[float], bool]) -> float:
    """The place between the two from which differences are no longer excluded."""
    if not is_excluded(outside):
        return outside
    for _ in range(60):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if is_excluded(middle) else (outside, middle)
    return (outside + inside) / 2
