"""How one row of logits becomes one token.

The order is fixed: logit bias, penalties, what a constraint allows, temperature, then top-k, top-p and min-p, each over
what the one before left (as transformers' processors do). Ties go to the lowest id. Chance is one draw a token from a
Philox stream keyed by the seed, so the n-th choice of a seed never depends on what else runs.
"""

import secrets
from collections.abc import Sequence

import numpy as np

from ouvert.engine.waist import EngineError, Sampling, Token

# Enough candidates for nearly every nucleus; when they are not, the next attempt looks at eight times as many.
FIRST_CANDIDATES = 256


def check(sampling: Sampling, vocabulary_size: int) -> None:
    """Raise EngineError naming every field that cannot be honoured."""
    wrong = [
        f"{name}={value!r} (expected {expected})"
        for name, value, fits, expected in (
            ("temperature", sampling.temperature, 0 <= sampling.temperature < np.inf, "0 or more"),
            ("top_k", sampling.top_k, sampling.top_k >= 0, "0 (keeps all) or more"),
            ("top_p", sampling.top_p, 0 < sampling.top_p <= 1, "more than 0, at most 1"),
            ("min_p", sampling.min_p, 0 <= sampling.min_p <= 1, "0 to 1"),
            (
                "repetition_penalty",
                sampling.repetition_penalty,
                0 < sampling.repetition_penalty < np.inf,
                "more than 0; 1 changes nothing",
            ),
            ("presence_penalty", sampling.presence_penalty, np.isfinite(sampling.presence_penalty), "a number"),
            ("frequency_penalty", sampling.frequency_penalty, np.isfinite(sampling.frequency_penalty), "a number"),
            ("seed", sampling.seed, sampling.seed is None or 0 <= sampling.seed < 2**64, "0 to 2**64 - 1"),
            ("max_tokens", sampling.max_tokens, sampling.max_tokens is None or sampling.max_tokens >= 1, "1 or more"),
            (
                "logprobs",
                sampling.logprobs,
                sampling.logprobs is None or 0 <= sampling.logprobs <= vocabulary_size,
                f"0 to {vocabulary_size}",
            ),
        )
        if not fits
    ]
    wrong += [
        f"logit_bias[{token}]={bias!r} (expected an id below {vocabulary_size} and a number)"
        for token, bias in sampling.logit_bias.items()
        if not 0 <= token < vocabulary_size or not np.isfinite(bias)
    ]
    if wrong:
        raise EngineError(f"sampling: {'; '.join(wrong)}. Change or leave out what is named here.")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """float64, over the last axis."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    wide -= np.log(np.exp(wide).sum(axis=-1, keepdims=True))
    return wide


def likeliest(scores: np.ndarray, count: int) -> np.ndarray:
    """Ids of the `count` highest scores, highest first; equal scores in the order of their ids."""
    count = min(count, scores.size)
    if count == 0:
        return np.empty(0, np.int64)
    bar = np.partition(scores, scores.size - count)[scores.size - count]
    above = np.flatnonzero(scores > bar)
    level = np.flatnonzero(scores == bar)[: count - above.size]
    above = above[np.argsort(-scores[above], kind="stable")]
    return np.concatenate([above, level])


def reported(logits: np.ndarray, token: int, top: int) -> Token:
    """The token with its log-probability and those of the `top` likeliest, from unchanged logits."""
    logprobs = log_softmax(logits)
    best = likeliest(logits, top)
    return Token(token, float(logprobs[token]), tuple((int(i), float(logprobs[i])) for i in best))


class NotFiniteError(EngineError):
    """A logit is NaN or infinite."""


def choose_all(
    logits: np.ndarray, samplers: Sequence["Sampler"], allowed: Sequence[np.ndarray | None]
) -> list[Token | EngineError]:
    """The next token of every row, or why there is none: one row's failure is not the others'."""
    chosen: list[Token | EngineError] = []
    for row, sampler, mask in zip(logits, samplers, allowed, strict=True):
        try:
            chosen.append(sampler.choose(row, mask))
        except EngineError as problem:
            chosen.append(problem)
    return chosen


class Sampler:
    """Chooses the tokens of one sequence. `seed` is the one asked for, or one drawn for this sequence."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int], vocabulary_size: int) -> None:
        self.sampling = sampling
        self.seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        self._chance = np.random.Philox(key=self.seed)
        self._counts: dict[int, int] = {}
        self._bias = (
            np.fromiter(sampling.logit_bias.keys(), np.int64),
            np.fromiter(sampling.logit_bias.values(), np.float64),
        )
        self._penalises = (
            sampling.repetition_penalty != 1 or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
        )
        if self._penalises:
            for token in prompt:
                self._counts[token] = self._counts.get(token, 0) + 1

    def choose(self, logits: np.ndarray, allowed: np.ndarray | None = None) -> Token:
        """The next token, one of `allowed` (ids, ascending) if given.

        Raises EngineError if a logit is not a finite number, or nothing is allowed.
        """
        if not np.isfinite(logits).all():
            broken = int(np.count_nonzero(~np.isfinite(logits)))
            raise NotFiniteError(
                f"sampling: {broken} of {logits.size} logits are NaN or infinite, so no token can be chosen. "
                "The weights are damaged or the arithmetic overflowed: check the file's digest, then try exact=True."
            )
        if allowed is not None and not allowed.size:
            raise EngineError(
                "sampling under a constraint: no token of the vocabulary may come next, and the answer may not end "
                "here. Change the grammar so that this vocabulary can spell it."
            )
        weighed = self._weighed(logits)
        if allowed is not None:
            weighed = weighed[allowed]
        if self.sampling.temperature == 0:
            token = int(np.argmax(weighed))
        else:
            ids, shares = candidates(weighed, self.sampling)
            token = int(ids[self._draw(shares)])
        if allowed is not None:
            token = int(allowed[token])
        if self._penalises:
            self._counts[token] = self._counts.get(token, 0) + 1
        if self.sampling.logprobs is None:
            return Token(token)
        return reported(logits, token, self.sampling.logprobs)

    def _weighed(self, logits: np.ndarray) -> np.ndarray:
        """The logits after bias and penalties; the very same array if there are none."""
        if not self._bias[0].size and not self._counts:
            return logits
        weighed = logits.astype(np.float64)
        weighed[self._bias[0]] += self._bias[1]
        if self._counts:
            seen = np.fromiter(self._counts.keys(), np.int64)
            times = np.fromiter(self._counts.values(), np.float64)
            values = weighed[seen]
            # CTRL (Keskar et al. 2019, section 4.1), with the sign handled as transformers does.
            values = np.where(
                values > 0, values / self.sampling.repetition_penalty, values * self.sampling.repetition_penalty
            )
            weighed[seen] = values - self.sampling.presence_penalty - self.sampling.frequency_penalty * times
        return weighed

    def _draw(self, shares: np.ndarray) -> int:
        """An index, each with its share of the sum as its chance."""
        climb = np.cumsum(shares)
        uniform = (int(self._chance.random_raw()) >> 11) * 2.0**-53  # [0, 1)
        return min(int(np.searchsorted(climb, uniform * climb[-1], side="right")), shares.size - 1)


def candidates(weighed: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Ids that may be chosen and their shares (float64, not normalised), after temperature and all filters.

    Likeliest first where a filter made an order necessary, else in the order of ids.
    """
    # The largest is taken off before dividing, so that a tiny temperature cannot overflow.
    wide = weighed.astype(np.float64)
    shares: np.ndarray = np.exp((wide - wide.max()) / sampling.temperature)
    ids = np.arange(shares.size)
    if 0 < sampling.top_k < shares.size:
        ids = likeliest(weighed, sampling.top_k)
    if sampling.top_p < 1:
        ids = nucleus(weighed, shares, ids, sampling.top_p)
    if sampling.min_p > 0:
        ids = ids[shares[ids] >= sampling.min_p]  # the likeliest has the share 1 here
    return ids, shares[ids]


def nucleus(weighed: np.ndarray, shares: np.ndarray, ids: np.ndarray, top_p: float) -> np.ndarray:
    """The fewest likeliest of `ids` whose shares reach `top_p` of the total (Holtzman et al. 2020), likeliest first."""
    wanted = top_p * shares[ids].sum()
    looked_at = FIRST_CANDIDATES
    while True:
        best: np.ndarray = ids[likeliest(weighed[ids], looked_at)]
        climb = np.cumsum(shares[best])
        if climb[-1] >= wanted or best.size == ids.size:
            return best[: int(np.searchsorted(climb, wanted, side="left")) + 1]
        looked_at *= 8
