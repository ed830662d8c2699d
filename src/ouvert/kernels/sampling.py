"""arithmetic.sampling, faster: choices over whole batches in one call, the same token for the same draw.

The call holds no lock of Python's while it works.
"""

from collections.abc import Sequence

import numpy as np

import ouvert.kernels._native as _native
from ouvert.arithmetic import sampling as plain


def choose(
    logits: plain.Rows,
    asks: plain.Array,
    changes: Sequence[plain.Changes | None],
    allowed: Sequence[plain.Array | None],
    instruction_set: str | None = None,
) -> tuple[plain.Array, plain.Array]:
    """arithmetic.sampling.choose. Raises ValueError for what does not fit together."""
    rows, tokens = check_rows("choosing tokens", logits)
    if not asks.shape == (rows,) or asks.dtype != plain.ASK or len(changes) != rows or len(allowed) != rows:
        raise ValueError(
            f"choosing tokens: {rows} rows of logits with asks {asks.dtype}{asks.shape}, {len(changes)} changes and "
            f"{len(allowed)} lists of allowed ids; expected one of each for every row."
        )
    outcomes = np.zeros(rows, plain.OUTCOME)
    likeliest = np.zeros((rows, max(int(asks["logprobs"].max(initial=0)), 0)), np.int64)
    _native.choose(
        instruction_set or _native.best_instruction_set(),
        list(logits),
        asks.view(np.uint8).reshape(rows, plain.ASK.itemsize),
        changes,
        allowed,
        outcomes.view(np.uint8).reshape(rows, plain.OUTCOME.itemsize),
        likeliest,
    )
    if (outcomes["token"] < 0).any():
        row = int(np.flatnonzero(outcomes["token"] < 0)[0])
        raise ValueError(
            f"choosing tokens: row {row} has an id, biased, seen or allowed, that is not among its {tokens} "
            "tokens, or none is allowed. Check the ids against the vocabulary first."
        )
    return outcomes, likeliest


def report(
    logits: plain.Rows, tops: plain.Array, instruction_set: str | None = None
) -> tuple[plain.Array, plain.Array]:
    """arithmetic.sampling.report. Raises ValueError for what does not fit together."""
    rows, tokens = check_rows("reporting log-probabilities", logits)
    tops = np.ascontiguousarray(tops, np.int64)
    if tops.shape != (rows,) or tops.max(initial=0) > tokens:
        raise ValueError(
            f"reporting log-probabilities: {rows} rows of {tokens} tokens, and the likeliest {tops} wanted; "
            "expected one number for every row, none above the number of tokens."
        )
    outcomes = np.zeros(rows, plain.OUTCOME)
    likeliest = np.zeros((rows, max(int(tops.max(initial=0)), 0)), np.int64)
    _native.report(
        instruction_set or _native.best_instruction_set(),
        list(logits),
        tops,
        outcomes.view(np.uint8).reshape(rows, plain.OUTCOME.itemsize),
        likeliest,
    )
    return outcomes, likeliest


def spread(
    logits: plain.Array, token: int, largest: float, total: int, instruction_set: str | None = None
) -> tuple[int, float]:
    """arithmetic.sampling.spread, within 1e-12 of it. Raises ValueError for logits of another type."""
    check_rows("computing an entropy", [logits])
    set_ = instruction_set or _native.best_instruction_set()
    weighed, above = _native.spread(set_, logits, largest, plain.LOG2_E, logits[token])
    return 1 + above, plain.log_of_total(total) - weighed / total


def shares(logits: plain.Array, scale: float, instruction_set: str | None = None) -> plain.Array:
    """arithmetic.sampling.shares, of finite logits. Raises ValueError for logits of another type."""
    check_rows("computing shares", [logits])
    out = np.empty(logits.size, np.int64)
    _native.shares(instruction_set or _native.best_instruction_set(), logits, float(logits.max()), scale, out)
    return out


def check_rows(operation: str, logits: plain.Rows) -> tuple[int, int]:
    """How many rows there are, and tokens in each. Raises ValueError for rows that are not float32, or not alike."""
    tokens = len(logits[0]) if len(logits) else 1
    for row in logits:
        fits = row.shape == (tokens,) and row.dtype == np.float32 and row.flags.c_contiguous
        if not fits or not 1 <= tokens <= plain.MOST_TOKENS:
            raise ValueError(
                f"{operation}: a row of logits is {row.dtype}{row.shape}, expected contiguous float32 with 1 to "
                f"{plain.MOST_TOKENS} tokens, as many as the first row, which has {tokens}."
            )
    return len(logits), tokens
