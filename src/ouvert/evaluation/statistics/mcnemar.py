"""Is one contestant right more often than another on the same items?"""

import math
from fractions import Fraction

from ouvert.evaluation.statistics.student import NORMAL, t_cdf


def mcnemar_mid_p(only_first: int, only_second: int) -> float:
    """Two-sided p of the items that exactly one of the two got right: each is a fair coin if neither is better.

    Exact, not by a normal approximation; mid-p counts half of the probability of what was seen, which keeps the error
    near the level where the plain exact test stays far below it. Raises nothing for counts.

    McNemar (Psychometrika 12, 1947); mid-p: Fagerland, Lydersen, Laake, BMC Medical Research Methodology 13:91 (2013).
    """
    tosses, fewer = only_first + only_second, min(only_first, only_second)
    below, ways = 0, 1  # ways to toss fewer heads, and just so many
    for heads in range(fewer):
        below += ways
        ways = ways * (tosses - heads) // (heads + 1)
    return min(1.0, float(Fraction(2 * below + ways, 2**tosses)))


def mcnemar_worse_p(worse: int, better: int) -> float:
    """One-sided p that more items got worse than better, where each of them is a fair coin if nothing changed: exact,
    mid-p, half of the two-sided one on its side. Raises nothing for counts."""
    two_sided = mcnemar_mid_p(worse, better)
    if worse == better:
        return 0.5
    return two_sided / 2 if worse > better else 1 - two_sided / 2


def clustered_p(p: float, design_effect: float, clusters: int) -> float:
    """A two-sided p of independent items, where the items come in clusters: z is divided by the root of the design
    effect and judged by Student's t with clusters - 1 degrees of freedom. Of one cluster, 1. Raises nothing.

    Rao and Scott, A simple method for the analysis of clustered binary data (Biometrics 48, 1992).
    """
    if clusters < 2:
        return 1.0
    z = -NORMAL.inv_cdf(max(p, 1e-300) / 2) if p < 1 else 0.0
    return min(1.0, 2 * (1 - t_cdf(z / math.sqrt(max(1.0, design_effect)), clusters - 1)))
