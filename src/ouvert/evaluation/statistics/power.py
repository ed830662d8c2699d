"""How small a difference a run can show, and how many items it takes: asked before the first answer."""

import math

from ouvert.evaluation.statistics.student import NORMAL, two_sided_z

POWER = 0.8
ALPHA = 0.05


def items_for(
    difference: float,
    discordant: float,
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    design_effect: float = 1.0,
) -> int:
    """How many items two contestants must both answer so that a true difference is shown with this power.

    `discordant`: the share of items that only one of the two gets right; it cannot be below the difference, and is
    taken as the difference where it is. `alpha`: of m primaries, 0.05 / m is on the safe side.
    Raises ValueError for a difference that is not above 0 and at most 1.

    Connor, Sample size for testing differences in proportions for the paired-sample design (Biometrics 43, 1987).
    """
    if not 0 < difference <= 1:
        raise ValueError(f"items for a difference of {difference}: it must be above 0 and at most 1.")
    apart = max(discordant, difference)
    errors = two_sided_z(1 - alpha) * math.sqrt(apart)
    errors += NORMAL.inv_cdf(power) * math.sqrt(max(0.0, apart - difference * difference))
    return math.ceil((errors / difference) ** 2 * max(1.0, design_effect))


def smallest_visible(
    items: int,
    discordant: float,
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    design_effect: float = 1.0,
) -> float:
    """The smallest true difference between two contestants that this many common items show with this power.

    1.0 where not even that is enough, and of no items. The arguments are those of `items_for`, whose inverse it is.
    Raises nothing.
    """
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        needed = items_for(middle, discordant, power=power, alpha=alpha, design_effect=design_effect)
        low, high = (middle, high) if needed > items else (low, middle)
    return high


def smallest_visible_unpaired(items: int, share: float = 0.5, *, power: float = POWER, alpha: float = ALPHA) -> float:
    """The same where each contestant answered items of its own, this many each, and is right on about this share: what
    comparing two published scores could show. At most 1. Raises nothing."""
    if items <= 0:
        return 1.0
    errors = two_sided_z(1 - alpha) + NORMAL.inv_cdf(power)
    return min(1.0, errors * math.sqrt(2 * share * (1 - share) / items))
