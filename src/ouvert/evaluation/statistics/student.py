"""Quantiles and tails: of the normal distribution, and of Student's t for few clusters."""

import math
from functools import cache
from statistics import NormalDist

NORMAL = NormalDist()


def two_sided_z(level: float) -> float:
    """How many standard errors an interval of this level reaches to either side: 1.96 for 0.95. Raises nothing for a
    level between 0 and 1."""
    return NORMAL.inv_cdf(0.5 + level / 2)


def t_cdf(t: float, degrees: int) -> float:
    """P(T <= t) for Student's t; `degrees` at least 1. Exact but for rounding. Raises nothing.

    The finite sums for whole degrees of freedom: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and
    26.7.4.
    """
    theta = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for step in range(odd, degrees - 1, 2):
        total += term
        term *= cosine * cosine * (step + 1) / (step + 2)
    within = 2 / math.pi * (theta + sine * total) if odd else sine * total  # P(-t <= T <= t), with t's sign
    return 0.5 + within / 2


@cache
def two_sided_t(level: float, degrees: int) -> float:
    """Like `two_sided_z`, where the standard error itself was estimated from degrees + 1 values. Raises nothing."""
    low, high = two_sided_z(level), 2.0
    while t_cdf(high, degrees) < 0.5 + level / 2:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, degrees) < 0.5 + level / 2 else (low, middle)
    return (low + high) / 2
