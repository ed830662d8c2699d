"""How a row of logits becomes a token, in NumPy: what kernels.sampling is held to, token for token.

The order is fixed: bias and penalties, what a constraint allows, temperature, then top-k, top-p and min-p, each over
what the one before left (as transformers' processors do). Ties go to the lowest id. The draw goes through the tokens
that are left in the order of their ids.

A token's share is e^((logit - largest) / temperature) in units of 2^-SHARE_BITS, rounded to a whole number. It comes
from float64 operations that every machine rounds alike, none of them fused, and all that follows (totals, nuclei,
draws) is integer arithmetic. So no choice depends on a mathematical library, an instruction set or the order of a sum.
The price: a token that is 4e13 times less likely than the likeliest is never chosen.

Its functions raise nothing: `kernels.sampling` checks what it is given, and computes the same.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Rows: TypeAlias = Array | Sequence[Array]  # float32, all of one length

SHARE_BITS = 44
MOST_TOKENS = 2 ** (63 - SHARE_BITS) - 1  # the shares of so many tokens add up in an int64
LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453
FINITE = float(np.finfo(np.float32).max)

# 2^r on [-1/2, 1/2] is 1 + r * polynomial, fitted at Chebyshev nodes: within 1.2e-10 of its size. Highest power first.
POWERS = (
    1.5297323760701075e-05,
    0.0001546144469856913,
    0.001333350238616277,
    0.009618056678524637,
    0.055504108839096185,
    0.24022650922288757,
    0.6931471805599453,
)

# How one token is to be chosen. `scale` is log2(e) / temperature, negative for the likeliest token; `draw` is uniform
# over all its values; `least` is the smallest share that may be chosen; top_k 0 keeps all; logprobs below 0: none.
ASK = np.dtype(
    [
        ("scale", np.float64),
        ("top_p", np.float64),
        ("repetition", np.float64),
        ("presence", np.float64),
        ("frequency", np.float64),
        ("draw", np.uint64),
        ("least", np.int64),
        ("top_k", np.int64),
        ("logprobs", np.int64),
    ]
)

# `broken` counts logits that are NaN or infinite: if there are any, nothing else holds. `largest` logit and `total`
# share are those of the unchanged row at temperature 1; the total only where log-probabilities were asked for.
OUTCOME = np.dtype([("token", np.int64), ("broken", np.int64), ("total", np.uint64), ("largest", np.float64)])


class Changes(NamedTuple):
    """What changes a row before the choice: ids (int64) with their bias, and ids with how often they came (float64)."""

    biased: Array
    bias: Array
    seen: Array
    times: Array


def choose(
    logits: Rows, asks: Array, changes: Sequence[Changes | None], allowed: Sequence[Array | None]
) -> tuple[Array, Array]:
    """Outcomes, and per row the ids of its likeliest tokens (as many as the row with the most logprobs asks for).

    `asks` ASK (rows,), `allowed` ids that may be chosen, ascending, not none of them.
    """
    outcomes, likeliest_ids = report(logits, asks["logprobs"])
    for row, ask, change, ids, outcome in zip(logits, asks, changes, allowed, outcomes, strict=True):
        if outcome["broken"]:
            continue
        weighed = row if change is None else changed(row, ask, change)
        if ids is None:
            outcome["token"] = chosen(weighed, ask)
        else:
            outcome["token"] = ids[chosen(weighed[ids], ask)]
    return outcomes, likeliest_ids


def report(logits: Rows, tops: Array) -> tuple[Array, Array]:
    """Outcomes without tokens, and the ids of the `tops` likeliest tokens of each row; below 0 not even the total."""
    outcomes = np.zeros(len(logits), OUTCOME)
    ids = np.zeros((len(logits), max(tops.max(initial=0), 0)), np.int64)
    for row, top, of_row, outcome in zip(logits, tops, ids, outcomes, strict=True):
        outcome["broken"] = np.count_nonzero(~np.isfinite(row))
        outcome["largest"] = row.max()
        if top >= 0 and not outcome["broken"]:
            outcome["total"] = shares(row, LOG2_E).sum()
            of_row[:top] = likeliest(row, top)
    return outcomes, ids


def changed(logits: Array, ask: Any, changes: Changes) -> Array:
    """The row with its bias, then its penalties; what leaves the range of float32 stays at its end."""
    weighed = logits.copy()
    weighed[changes.biased] = narrow(weighed[changes.biased] + changes.bias)
    # CTRL (Keskar et al. 2019, section 4.1), with the sign handled as transformers does.
    seen = weighed[changes.seen].astype(np.float64)
    with np.errstate(over="ignore"):
        seen = narrow(np.where(seen > 0, seen / ask["repetition"], seen * ask["repetition"])).astype(np.float64)
        weighed[changes.seen] = narrow(seen - ask["presence"] - ask["frequency"] * changes.times)
    return weighed


def narrow(wide: Array) -> Array:
    """float32, what leaves its range at its end."""
    narrowed: Array = np.clip(wide, -FINITE, FINITE).astype(np.float32)
    return narrowed


def chosen(weighed: Array, ask: Any) -> int:
    """The place of the chosen token in the row."""
    if ask["scale"] < 0:
        return int(np.argmax(weighed))
    climb = np.cumsum(kept_shares(weighed, ask))
    aimed = int(ask["draw"]) * int(climb[-1]) >> 64
    return int(np.searchsorted(climb, aimed, side="right"))


def kept_shares(weighed: Array, ask: Any) -> Array:
    """Shares at the temperature, 0 for all that the filters take away."""
    found = shares(weighed, float(ask["scale"]))
    if ask["top_k"] > 0 or ask["top_p"] < 1:
        kept = likeliest(weighed, int(ask["top_k"]) or weighed.size)
        if ask["top_p"] < 1:
            # The fewest likeliest whose shares reach this part of the total (Holtzman et al. 2020).
            climb = np.cumsum(found[kept])
            total = int(climb[-1])
            wanted = min(total, math.ceil(float(ask["top_p"]) * total))
            kept = kept[: int(np.searchsorted(climb, wanted)) + 1]
        left = np.zeros_like(found)
        left[kept] = found[kept]
        found = left
    found[found < ask["least"]] = 0
    return found


def shares(logits: Array, scale: float) -> Array:
    """int64; exactly 2^SHARE_BITS for the largest logit."""
    wide = logits.astype(np.float64)
    with np.errstate(over="ignore"):
        x = np.maximum((wide - wide.max()) * scale, -64.0)
    whole = np.rint(x)
    r = x - whole
    p = np.full_like(r, POWERS[0])
    for power in POWERS[1:]:
        p = p * r + power
    p = p * r + 1.0
    found: Array = np.rint(np.ldexp(p, whole.astype(np.int32) + SHARE_BITS)).astype(np.int64)
    return found


def likeliest(scores: Array, count: int) -> Array:
    """Ids of the `count` highest scores, highest first; equal scores in the order of their ids."""
    count = min(int(count), scores.size)
    if count == 0:
        return np.empty(0, np.int64)
    bar = np.partition(scores, scores.size - count)[scores.size - count]
    above = np.flatnonzero(scores > bar)
    level = np.flatnonzero(scores == bar)[: count - above.size]
    above = above[np.argsort(-scores[above], kind="stable")]
    return np.concatenate([above, level])


def spread(logits: Array, token: int, largest: float, total: int) -> tuple[int, float]:
    """A token's rank in a row of finite logits (1 is the likeliest), and the row's entropy -Σ p·log p in nats, from its
    largest logit and the sum of its shares at temperature 1."""
    below = np.maximum(logits.astype(np.float64) - largest, -1e4)  # a share of 0 adds nothing
    weighed = float((shares(logits, LOG2_E) * below).sum())
    return 1 + int(np.count_nonzero(logits > logits[token])), log_of_total(total) - weighed / total


def entropy_of_shares(shares: Array) -> Array:
    """-Σ p·log p along the last axis, in nats; a share of 0 adds nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-np.where(shares > 0, shares * np.log(shares), 0.0).sum(axis=-1))


def log_of_total(total: int) -> float:
    """Natural logarithm of a sum of shares, in units of a share of 1; the same to the last bit on every machine."""
    exponent = total.bit_length()
    mantissa = total / (1 << exponent)
    if mantissa < 0.7071067811865476:
        mantissa, exponent = 2 * mantissa, exponent - 1
    # The series of the inverse hyperbolic tangent: 12 terms are enough within 1/5 of 1.
    s = (mantissa - 1) / (mantissa + 1)
    series = 0.0
    for odd in range(23, 0, -2):
        series = series * (s * s) + 1 / odd
    return 2 * s * series + (exponent - SHARE_BITS) * LN_2
