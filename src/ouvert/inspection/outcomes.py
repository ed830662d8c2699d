"""From rows of logits to what can be told of them: how likely a token was, its rank, the spread, the likeliest few."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ouvert.arithmetic import sampling
from ouvert.inspection.subject import Array
from ouvert.kernels import sampling as native_sampling


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Of each of some rows of logits, (rows,) or (rows, top): natural logarithms, entropy in nats.

    `logprob` and `rank` are of a given token, rank 1 being the likeliest; a token of -1 is none, and has NaN and 0.
    """

    logprob: Array
    rank: Array
    entropy: Array
    ids: Array
    logprobs: Array


def outcomes_of(logits: Array, tokens: Array, top: int) -> Outcomes:
    """Of rows (rows, vocabulary) and the token (rows,) that came after each. The log-probabilities are those that the
    sampler reports, to the last bit. Raises nothing."""
    found, likeliest = native_sampling.report(logits, np.full(len(logits), top, np.int64))
    log_totals = np.array([sampling.log_of_total(int(total)) for total in found["total"]])[:, None]
    largest = found["largest"][:, None]
    there = np.maximum(tokens, 0)
    chosen = np.take_along_axis(logits, there[:, None], axis=1)
    none = tokens < 0
    spreads = [
        native_sampling.spread(row, token, float(each["largest"]), int(each["total"]))
        for row, token, each in zip(logits, there, found, strict=True)
    ]
    rank = np.where(none, 0, [each for each, _ in spreads])
    entropy = np.array([each for _, each in spreads])
    logprob = np.where(none, np.nan, ((chosen.astype(np.float64) - largest) - log_totals)[:, 0])
    logprobs = (np.take_along_axis(logits, likeliest, axis=1).astype(np.float64) - largest) - log_totals
    return Outcomes(logprob, rank, entropy, likeliest, logprobs)


def joined(parts: Iterable[Outcomes]) -> Outcomes:
    """Those of all rows, one after the other. Raises ValueError for none."""
    columns = zip(*((each.logprob, each.rank, each.entropy, each.ids, each.logprobs) for each in parts), strict=True)
    return Outcomes(*(np.concatenate(column) for column in columns))
