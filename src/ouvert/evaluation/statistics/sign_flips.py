"""Are graded scores of one contestant higher than those of another on the same items?"""

from collections.abc import Sequence

import numpy as np

from ouvert.evaluation.statistics.clusters import numbered

FLIPS = 9999
EXHAUSTIVE = 13  # clusters: up to here all ways are counted


def sign_flip_p(differences: Sequence[float], clusters: Sequence[str], seed: int = 0) -> float:
    """Two-sided p of a mean difference: if neither is better, each cluster's difference might as well have had the
    other sign. All ways are counted for few clusters, else 9,999 random ones and the one that was seen.

    Keeps its level whatever the scores are distributed like. Raises nothing for at least one item.

    Pitman (1937); for evaluations: Riezler and Maxwell, On some pitfalls in automatic evaluation (ACL workshop, 2005).
    """
    number, count = numbered(clusters)
    sums = np.bincount(number, np.asarray(differences, dtype=np.float64), count)
    # Rounding must not decide whether two sums are as far from zero.
    seen = abs(float(sums.sum())) * (1 - 1e-9) - 1e-12
    if count <= EXHAUSTIVE:
        ways = np.arange(1 << count)[:, None] >> np.arange(count) & 1
        return float(np.mean(np.abs((2 * ways - 1) @ sums) >= seen))
    words = np.random.PCG64(seed)
    as_far = 0
    per_flip = -(-count // 64)
    for start in range(0, FLIPS, 500):
        flips = min(500, FLIPS - start)
        raw = np.asarray(words.random_raw(flips * per_flip), dtype="<u8")
        bits = np.unpackbits(raw.view(np.uint8).reshape(flips, -1), axis=1)[:, :count]
        as_far += int(np.sum(np.abs(np.where(bits, sums, -sums).sum(axis=1)) >= seen))
    return (1 + as_far) / (1 + FLIPS)
