"""What a step's loss is made of: sequences that are computed together, and what their log-probabilities cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ouvert.tuning.learner import Array, Learner, Loss, LossOf
from ouvert.tuning.pack import bins_of


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One summand of the loss: ids, int32 (tokens,), of each sequence that it needs (two of a preference), and the loss
    of their log-probabilities. The values of all terms of a step add up to the step's loss, and so do their metrics."""

    sequences: tuple[Array, ...]
    loss: LossOf

    @property
    def tokens(self) -> int:
        """Raises nothing."""
        return sum(map(len, self.sequences))


def together(terms: Sequence[Term], most: int, *, pack: bool) -> list[list[Term]]:
    """Which terms are computed in one call: at most so many tokens, or one term each. Raises nothing."""
    if not pack:
        return [[term] for term in terms]
    return [[terms[place] for place in each.members] for each in bins_of([term.tokens for term in terms], most)]


def sequences_of(terms: Sequence[Term]) -> list[Array]:
    """Of several terms, one after the other: what `joined` takes the log-probabilities of. Raises nothing."""
    return [ids for term in terms for ids in term.sequences]


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


def measured(terms: Sequence[Term], learner: Learner, most: int, *, pack: bool) -> Mapping[str, float]:
    """ "loss" and metrics of these terms, nothing learnt. Raises what the learner raises."""
    sums = {"loss": 0.0}
    for call in together(terms, most, pack=pack):
        found = joined(call)(learner.log_probabilities(sequences_of(call)))
        add(sums, {"loss": found.value, **found.metrics})
    return sums
