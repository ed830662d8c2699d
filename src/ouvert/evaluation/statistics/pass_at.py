"""How often at least one of k answers is right."""

import math


def pass_at(k: int, samples: int, right: int) -> float:
    """The unbiased estimate from `right` of `samples` answers: one minus the share of the ways to take k of them that
    hold none. Raises ValueError unless 1 <= k <= samples.

    Chen et al., Evaluating large language models trained on code (arXiv 2107.03374).
    """
    if not 1 <= k <= samples or not 0 <= right <= samples:
        raise ValueError(f"pass@{k} of {right} right in {samples} answers: k is from 1 to the number of answers.")
    return 1 - math.comb(samples - right, k) / math.comb(samples, k)
