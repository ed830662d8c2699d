"""How rows of logits become tokens: whole batches in one pass, each row by its own sequence's rules and draws.

What the rules mean is said in arithmetic.sampling, which kernels.sampling does faster. Chance is one draw a token from
a Philox stream keyed by the seed, so the n-th choice of a seed never depends on what else runs.
"""

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import numpy as np

from ouvert import kernels
from ouvert.arithmetic import sampling as plain
from ouvert.engine.interface import Confidence, EngineError, EngineFaultError, Sampling, Token

# A temperature so small that its inverse overflows is greedy just as well at this one.
MOST_SCALE = 1e300
# Beyond these nothing changes any more: the likeliest token alone is left, or all are alike.
MOST_NUMBER = 1e30
MOST_COUNT = 2**31 - 1
LEAST_POSITIVE = math.nextafter(0, 1)
AMOUNT = f"a number from {-MOST_NUMBER:g} to {MOST_NUMBER:g}"
ALTERNATIVES = 5  # likeliest tokens of a `Confidence`
MOST_NAMED = 5  # faults of one kind in an error


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a setting may be: from `least` to `most`, both included; `whole`: no fractions. `expected` says it."""

    least: float
    most: float
    expected: str
    whole: bool = False

    def hold(self, value: object) -> bool:
        """Whether it is a number within them, and a whole one where that is wanted. Raises nothing."""
        return whole(value, int(self.least), int(self.most)) if self.whole else number(value, self.least, self.most)


# Fields of Sampling that are numbers. None is no number, and may stand where the default is None.
SAMPLING_BOUNDS: Mapping[str, Bounds] = {
    "temperature": Bounds(0, MOST_NUMBER, "0 or more"),
    "top_k": Bounds(0, MOST_COUNT, "0 (keeps all) to 2**31 - 1", whole=True),
    "top_p": Bounds(LEAST_POSITIVE, 1, "more than 0, at most 1"),
    "min_p": Bounds(0, 1, "0 to 1"),
    "repetition_penalty": Bounds(1 / MOST_NUMBER, MOST_NUMBER, "more than 0; 1 changes nothing"),
    "presence_penalty": Bounds(-MOST_NUMBER, MOST_NUMBER, AMOUNT),
    "frequency_penalty": Bounds(-MOST_NUMBER, MOST_NUMBER, AMOUNT),
    "seed": Bounds(0, 2**64 - 1, "0 to 2**64 - 1", whole=True),
    "max_tokens": Bounds(1, 2**63 - 1, "1 or more, below 2**63", whole=True),
    "repetition_guard": Bounds(0, MOST_COUNT, "0 (never) to 2**31 - 1", whole=True),
}
MAY_BE_NONE = frozenset({"seed", "max_tokens", "logprobs"})


entropy_of_shares = plain.entropy_of_shares


class NotFiniteError(EngineError):
    """Logits are NaN or infinite: something before them went wrong."""


class Machinery(Protocol):
    """arithmetic.sampling or kernels.sampling."""

    def choose(
        self,
        logits: plain.Rows,
        asks: plain.Array,
        changes: Sequence[plain.Changes | None],
        allowed: Sequence[plain.Array | None],
    ) -> tuple[plain.Array, plain.Array]: ...

    def report(self, logits: plain.Rows, tops: plain.Array) -> tuple[plain.Array, plain.Array]: ...

    def spread(self, logits: plain.Array, token: int, largest: float, total: int) -> tuple[int, float]: ...


@cache
def machinery() -> Machinery:
    """The native one where it was built. Both choose the same tokens."""
    if not kernels.available():
        return plain
    from ouvert.kernels import sampling

    return sampling


def check(sampling: Sampling, vocabulary_size: int) -> None:
    """Raise EngineError naming every field that cannot be honoured: of the wrong type, NaN, or out of its range."""
    bounds = {**SAMPLING_BOUNDS, "logprobs": Bounds(0, vocabulary_size, f"0 to {vocabulary_size}", whole=True)}
    stated = {name: getattr(sampling, name) for name in bounds}
    wrong = [
        f"{name}={shown(value)} (expected {bounds[name].expected})"
        for name, value in stated.items()
        if not (bounds[name].hold(value) or (value is None and name in MAY_BE_NONE))
    ]
    wrong += [
        f"logit_bias[{shown(token)}]={shown(bias)} (expected an id below {vocabulary_size}, and {AMOUNT})"
        for token, bias in sampling.logit_bias.items()
        if not whole(token, 0, vocabulary_size - 1) or not amount(bias)
    ][:MOST_NAMED]
    wrong += [
        f"stop_ids has {shown(token)} (expected ids, 0 to 2**31 - 1)"
        for token in sampling.stop_ids
        if not whole(token, 0, MOST_COUNT)
    ][:MOST_NAMED]
    if wrong:
        raise EngineError(f"sampling: {'; '.join(wrong)}. Change or leave out what is named here.")


def whole(value: object, least: int, most: int) -> bool:
    """Whether it is a whole number within these, both included. True and 1.0 are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and least <= int(value) <= most


def number(value: object, least: float, most: float) -> bool:
    """Whether it is a number within these, both included; NaN never is."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return real and bool(least <= value <= most)  # type: ignore[operator]


def shown(value: object) -> str:
    """The value for an error, cut off; Python does not write a whole number of thousands of digits."""
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"a number of {value.bit_length()} bits"
    return f"{value!r:.60}"


def amount(value: object) -> bool:
    """Whether it may be added to a logit: so many of them never leave float64."""
    return number(value, -MOST_NUMBER, MOST_NUMBER)


class Sampler:
    """How the tokens of one sequence are chosen. `seed` is the one asked for, or one drawn for this sequence."""

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int], vocabulary_size: int, written: Sequence[int] = ()
    ) -> None:
        """`written`: what of the answer was chosen before; the next choice is the one behind it.

        Raises EngineError if the vocabulary has more tokens than can be counted with.
        """
        if vocabulary_size > plain.MOST_TOKENS:
            raise EngineError(
                f"sampling: the vocabulary has {vocabulary_size} tokens, expected at most {plain.MOST_TOKENS}. "
                "Choosing from more needs a smaller SHARE_BITS in ouvert.arithmetic.sampling."
            )
        self.sampling = sampling
        self.seed = secrets.randbits(32) if sampling.seed is None else sampling.seed
        self._chance = np.random.Philox(key=int(self.seed))
        if written and sampling.temperature > 0:
            self._chance.random_raw(len(written), output=False)
        self._next_draw: int | None = None
        self._rules = (
            min(plain.LOG2_E / sampling.temperature, MOST_SCALE) if sampling.temperature > 0 else -1.0,
            sampling.top_p,
            sampling.repetition_penalty,
            sampling.presence_penalty,
            sampling.frequency_penalty,
        )
        self._filters = (
            int(np.ceil(sampling.min_p * 2.0**plain.SHARE_BITS)),
            int(sampling.top_k),
            self._likeliest(vocabulary_size),
        )
        self._biased = np.fromiter(sampling.logit_bias.keys(), np.int64)
        self._bias = np.fromiter(sampling.logit_bias.values(), np.float64)
        penalises = (
            sampling.repetition_penalty != 1 or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
        )
        self._counts = Counts([*prompt, *written]) if penalises else None

    def _likeliest(self, vocabulary_size: int) -> int:
        """How many of the likeliest tokens are told; -1: not even what log-probabilities are made of."""
        asked = -1 if self.sampling.logprobs is None else self.sampling.logprobs
        return max(asked, min(ALTERNATIVES, vocabulary_size)) if self.is_watched else asked

    @property
    def is_watched(self) -> bool:
        """Whether tokens come with their `Confidence`. Raises nothing."""
        return self.sampling.watch is not None and self.sampling.watch.confidence

    def choose(self, logits: np.ndarray, allowed: np.ndarray | None = None) -> Token:
        """The next token after this row of float32 logits, one of `allowed` (ids, ascending) if given.

        Raises NotFiniteError if a logit is not a finite number, and EngineError if nothing is allowed. Then the draw is
        kept for the next choice.
        """
        (found,) = choose_all(logits[None], [self], [allowed])
        if isinstance(found, EngineError):
            raise found
        return found

    def ask(self) -> tuple[float | int, ...]:
        """How the next token is chosen: a row of arithmetic.sampling.ASK, the same until it is. Raises nothing."""
        if self._rules[0] < 0:
            return (*self._rules, 0, *self._filters)
        if self._next_draw is None:
            self._next_draw = int(self._chance.random_raw())
        return (*self._rules, self._next_draw, *self._filters)

    def changes(self) -> plain.Changes | None:
        """What biases and the tokens so far change in the logits; None: nothing. Raises nothing."""
        if self._counts is None and not self._biased.size:
            return None
        seen, times = (NOTHING_SEEN, NEVER) if self._counts is None else self._counts.arrays
        return plain.Changes(self._biased, self._bias, seen, times)

    def _took(self, token: int) -> None:
        self._next_draw = None
        if self._counts is not None:
            self._counts.add(token)


class Counts:
    """How often each token came, in arrays that grow with the answer."""

    def __init__(self, prompt: Sequence[int]) -> None:
        ids, times = np.unique(np.asarray(prompt, np.int64), return_counts=True)
        self._size = ids.size
        self._ids = np.concatenate([ids, np.zeros(64, np.int64)])
        self._times = np.concatenate([times.astype(np.float64), np.zeros(64)])
        self._place = {token: place for place, token in enumerate(ids.tolist())}

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids, each once, and how often they came (float64). Valid until the next token is added."""
        return self._ids[: self._size], self._times[: self._size]

    def add(self, token: int) -> None:
        place = self._place.setdefault(token, self._size)
        if place == self._size:
            if self._size == self._ids.size:
                self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                self._times = np.concatenate([self._times, np.zeros_like(self._times)])
            self._ids[place] = token
            self._size += 1
        self._times[place] += 1


NOTHING_SEEN, NEVER = np.empty(0, np.int64), np.empty(0)
GREEDY = (-1.0, 1.0, 1.0, 0.0, 0.0, 0, 0, 0, -1)


def choose_all(
    logits: plain.Rows,
    samplers: Sequence[Sampler],
    allowed: Sequence[np.ndarray | None],
    by: Machinery | None = None,
) -> list[Token | EngineError]:
    """The next token of each row of float32 logits, by the sampler of the row, all different ones.

    `allowed` has the ids (ascending) that a row may choose from, or None for all. A row for which no token can be
    chosen has the error in its place: NotFiniteError if a logit is not a finite number, EngineFaultError for what
    nobody foresaw, or EngineError if nothing is allowed. Its sampler is left as it was. A row's token never depends on
    the other rows, nor does a row's fault end them.
    """
    barred = [ids is not None and not ids.size for ids in allowed]
    try:
        asks = np.array(
            [GREEDY if nothing else sampler.ask() for sampler, nothing in zip(samplers, barred, strict=True)],
            plain.ASK,
        )
        outcomes, likeliest = (by or machinery()).choose(
            logits,
            asks,
            [sampler.changes() for sampler in samplers],
            [None if nothing else ids for ids, nothing in zip(allowed, barred, strict=True)],
        )
    except Exception as problem:
        if len(samplers) == 1:
            return [EngineFaultError.of("choosing a token", problem)]
        # No sampler has gone on yet, so that each row by itself chooses what it would have chosen here.
        return [
            choose_all([row], [sampler], [ids], by)[0]
            for row, sampler, ids in zip(logits, samplers, allowed, strict=True)
        ]
    found: list[Token | EngineError] = []
    for row, sampler, nothing, outcome, ids in zip(logits, samplers, barred, outcomes.tolist(), likeliest, strict=True):
        token, broken, total, largest = outcome
        if broken:
            found.append(not_finite(broken, row.size))
        elif nothing:
            found.append(
                EngineError(
                    "sampling under a constraint: no token of the vocabulary may come next, and the answer may not end "
                    "here. Change the grammar so that this vocabulary can spell it."
                )
            )
        else:
            found.append(told(row, token, total, largest, ids, sampler))
            sampler._took(token)
    return found


def told(row: np.ndarray, token: int, total: int, largest: float, likeliest: np.ndarray, sampler: Sampler) -> Token:
    """The token, with what its sampler was asked to tell of it."""
    top = sampler.sampling.logprobs
    chosen = Token(token) if top is None else with_logprobs(row, token, total, largest, likeliest[:top])
    if not sampler.is_watched:
        return chosen
    scored = with_logprobs(row, token, total, largest, likeliest[:ALTERNATIVES])
    rank, entropy = machinery().spread(row, token, largest, total)
    return replace(chosen, confidence=Confidence(scored.logprob or 0.0, rank, entropy, scored.top))


def report_all(logits: plain.Rows, tokens: Sequence[int], top: int = 0, by: Machinery | None = None) -> list[Token]:
    """For each row of float32 logits its token with its log-probability and the `top` likeliest.

    Raises NotFiniteError.
    """
    outcomes, likeliest = (by or machinery()).report(logits, np.full(len(logits), top, np.int64))
    found = []
    for row, token, outcome, ids in zip(logits, tokens, outcomes.tolist(), likeliest, strict=True):
        _, broken, total, largest = outcome
        if broken:
            raise not_finite(broken, row.size)
        found.append(with_logprobs(row, token, total, largest, ids))
    return found


def with_logprobs(row: np.ndarray, token: int, total: int, largest: float, likeliest: np.ndarray) -> Token:
    """Log-probabilities in float64, within 1e-8 in rows of 200,000 tokens: shares are rounded (arithmetic.sampling)."""
    log_total = plain.log_of_total(total)
    ids = likeliest.tolist()
    logprobs = [(logit - largest) - log_total for logit in row[[token, *ids]].tolist()]
    return Token(token, logprobs[0], tuple(zip(ids, logprobs[1:], strict=True)))


def not_finite(broken: int, tokens: int) -> NotFiniteError:
    return NotFiniteError(
        f"sampling: {broken} of {tokens} logits are NaN or infinite, so no token can be chosen. "
        "The weights are damaged or the arithmetic overflowed: check the file's digest, then try exact=True."
    )
