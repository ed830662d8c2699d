"""A share of right answers, with its interval."""

import math

from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.statistics.student import two_sided_z


def wilson_interval(right: float, n: float, level: float = 0.95, width: float | None = None) -> Interval:
    """The score interval of a share: never beyond 0 and 1, and never without width.

    `right` of `n` need not be whole: an effective number of items is not. `width`: standard errors to either side,
    where they are not those of the normal distribution. Of no items at all, 0 to 1. Raises nothing.

    Wilson, Probable inference, the law of succession, and statistical inference (JASA 22, 1927).
    """
    if n <= 0:
        return Interval(0.0, 1.0)
    z = two_sided_z(level) if width is None else width
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and 1 the formula gives exactly 0 and 1, but for rounding.
    low = 0.0 if right <= 0 else max(0.0, middle - reach)
    high = 1.0 if right >= n else min(1.0, middle + reach)
    return Interval(low, high)
