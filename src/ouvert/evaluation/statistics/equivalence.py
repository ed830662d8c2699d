"""When two contestants may be called equivalent. That no difference was shown is not enough."""

from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.statistics.student import NORMAL
from ouvert.evaluation.statistics.tango import tango_score

LEVEL = 0.90  # of the interval: two one-sided tests at 5 % each


def is_equivalent(interval: Interval, margin: float) -> bool:
    """Whether a 90 % interval of a difference lies within the margin on both sides: the two one-sided tests, each at
    5 %. Raises nothing.

    Schuirmann (Journal of Pharmacokinetics and Biopharmaceutics 15, 1987).
    """
    return -margin < interval.low and interval.high < margin


def equivalence_p(only_first: float, only_second: float, n: float, margin: float) -> float:
    """The larger p of the two one-sided tests that a paired difference is above -margin and below margin: below 0.05
    exactly where Tango's 90 % interval lies within. Raises nothing for at least one item.

    Tango (Statistics in Medicine 17, 1998).
    """
    below = NORMAL.cdf(-tango_score(only_first, only_second, n, -margin))
    above = NORMAL.cdf(tango_score(only_first, only_second, n, margin))
    return max(below, above)
