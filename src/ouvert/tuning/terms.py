"""What a step's loss is made of: sequences that are computed together, and what their log-probabilities cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ouvert.tuning.learner import Array, Learner, Loss, LossOf

# Four of the learner's bins: they go side by side, and what enters their layers is kept until all are done.
CALL_TOKENS = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One summand of the loss: ids, int32 (tokens,), of each sequence that it needs (two of a preference), and the loss
    of their log-probabilities. `wanted`: as `Learner.learn` has it, of each sequence; left out, every token is looked
    at. The values of all terms of a step add up to the step's loss, and so do their metrics."""

    sequences: tuple[Array, ...]
    loss: LossOf
    wanted: tuple[Array, ...] | None = None

    @property
    def tokens(self) -> int:
        """Raises nothing."""
        return sum(map(len, self.sequences))


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """What the learner computes at once: some terms, one after the other."""

    sequences: list[Array]
    wanted: list[Array]
    loss: LossOf


def calls_of(terms: Sequence[Term], most: int = CALL_TOKENS) -> list[Call]:
    """Terms in their order, as many in each call as have at most so many tokens; a longer one is alone. Which these are
    depends on nothing else: gradients add up in the same order on every machine. Raises nothing."""
    groups: list[list[Term]] = []
    room = 0
    for term in terms:
        if not groups or term.tokens > room:
            groups.append([])
            room = most
        groups[-1].append(term)
        room -= term.tokens
    return [
        Call(
            sequences_of(group),
            [w for each in group for w in wanted(each)],
            joined(group),
        )
        for group in groups
    ]


def sequences_of(terms: Sequence[Term]) -> list[Array]:
    """Of several terms, one after the other: what `joined` takes the log-probabilities of. Raises nothing."""
    return [ids for term in terms for ids in term.sequences]


def wanted(term: Term) -> Sequence[Array]:
    return term.wanted or [np.ones(len(ids), "f4") for ids in term.sequences]


def add(sums: dict[str, float], metrics: Mapping[str, float]) -> None:
    """`sums` grows by what is worth telling of a part. Raises nothing."""
    for name, amount in metrics.items():
        sums[name] = sums.get(name, 0.0) + amount


def joined(terms: Sequence[Term]) -> LossOf:
    """The loss of several terms in one call. Raises what theirs raise."""

    def loss(log_probabilities: Sequence[Array]) -> Loss:
        value, gradients, metrics, at = 0.0, list[Array](), dict[str, float](), 0
        for term in terms:
            found = term.loss(log_probabilities[at : at + len(term.sequences)])
            at += len(term.sequences)
            value += found.value
            gradients += found.gradients
            add(metrics, found.metrics)
        return Loss(value, gradients, metrics)

    return loss


def measured(terms: Sequence[Term], learner: Learner) -> Mapping[str, float]:
    """ "loss" and metrics of these terms, nothing learnt. Raises what the learner raises."""
    sums = {"loss": 0.0}
    for call in calls_of(terms):
        found = call.loss(learner.log_probabilities(call.sequences, wanted=call.wanted))
        add(sums, {"loss": found.value, **found.metrics})
    return sums
