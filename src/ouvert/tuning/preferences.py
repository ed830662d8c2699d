"""Learning from preferences: DPO, ORPO, KTO. Each pair or answer is a term of the loss, and a step is their mean.

Log-probabilities of an answer are those of its trained tokens. What the bare model gives (DPO, KTO) is computed once
for each sequence, by the served program, and kept as long as the way lives.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ouvert.tuning.example import Example, Item, Labelled, Preference
from ouvert.tuning.learner import Array, Learner, Loss
from ouvert.tuning.recipe import Recipe
from ouvert.tuning.terms import Term, measured

NEAREST_TO_ONE = -1e-6  # of a mean log-probability: an answer that is certain has no odds


class BareModel:
    """Sums of trained log-probabilities of the model without its adapter, computed once for each sequence."""

    def __init__(self) -> None:
        self._known: dict[bytes, float] = {}

    def sums(self, examples: Sequence[Example], learner: Learner) -> list[float]:
        """In the order of the examples. Raises what the learner raises."""
        keys = [key_of(each) for each in examples]
        new = {key: each for key, each in zip(keys, examples, strict=True) if key not in self._known}
        found = (
            learner.log_probabilities(
                [each.ids for each in new.values()], adapted=False, wanted=[each.trained for each in new.values()]
            )
            if new
            else []
        )
        for (key, example), log_probabilities in zip(new.items(), found, strict=True):
            self._known[key] = summed(example, log_probabilities)
        return [self._known[key] for key in keys]


class DirectPreference:
    """dpo: -log σ(β ((π(chosen) - π₀(chosen)) - (π(rejected) - π₀(rejected)))), Rafailov et al., arXiv:2305.18290."""

    def __init__(self, recipe: Recipe) -> None:
        self._beta, self._bare = recipe.preference.beta, BareModel()

    def terms(self, items: Sequence[Item], learner: Learner, step: int) -> Sequence[Term]:
        """Raises what the learner raises."""
        pairs = [item for item in items if isinstance(item, Preference)]
        bare = self._bare.sums([each for pair in pairs for each in (pair.chosen, pair.rejected)], learner)
        return [
            Term(
                (pair.chosen.ids, pair.rejected.ids),
                direct_preference(pair, bare[2 * n] - bare[2 * n + 1], self._beta, len(pairs)),
                (pair.chosen.trained, pair.rejected.trained),
            )
            for n, pair in enumerate(pairs)
        ]

    def held_out(self, items: Sequence[Item], learner: Learner) -> Mapping[str, float]:
        """Raises what the learner raises."""
        return measured(self.terms(items, learner, 0), learner)


def direct_preference(pair: Preference, bare: float, beta: float, count: int) -> Callable[[Sequence[Array]], Loss]:
    """Of one pair of `count`; `bare` is the difference of the two sums in the bare model. Raises nothing."""

    def loss(log_probabilities: Sequence[Array]) -> Loss:
        chosen, rejected = (
            summed(example, found)
            for example, found in zip((pair.chosen, pair.rejected), log_probabilities, strict=True)
        )
        margin = beta * (chosen - rejected - bare)
        push = -beta * sigmoid(-margin) / count
        return Loss(
            -log_sigmoid(margin) / count,
            [(push * pair.chosen.trained).astype("f4"), (-push * pair.rejected.trained).astype("f4")],
            {"accuracy": float(margin > 0) / count, "margin": margin / count},
        )

    return loss


class OddsRatio:
    """orpo: what the chosen answers cost, and -β log σ of the log odds ratio of the two answers' mean probabilities,
    without a second model (Hong et al., arXiv:2403.07691)."""

    def __init__(self, recipe: Recipe) -> None:
        self._beta = recipe.preference.beta

    def terms(self, items: Sequence[Item], learner: Learner, step: int) -> Sequence[Term]:
        """Raises nothing."""
        pairs = [item for item in items if isinstance(item, Preference)]
        total = float(sum(pair.chosen.trained.sum(dtype="f8") for pair in pairs))
        return [
            Term(
                (pair.chosen.ids, pair.rejected.ids),
                odds_ratio(pair, total, self._beta, len(pairs)),
                (pair.chosen.trained, pair.rejected.trained),
            )
            for pair in pairs
        ]

    def held_out(self, items: Sequence[Item], learner: Learner) -> Mapping[str, float]:
        """Raises what the learner raises."""
        return measured(self.terms(items, learner, 0), learner)


def odds_ratio(pair: Preference, total: float, beta: float, count: int) -> Callable[[Sequence[Array]], Loss]:
    """Of one pair of `count`, whose chosen answers have `total` trained tokens together. Raises nothing."""
    examples = (pair.chosen, pair.rejected)
    tokens = [float(each.trained.sum(dtype="f8")) for each in examples]

    def loss(log_probabilities: Sequence[Array]) -> Loss:
        sums = [summed(each, found) for each, found in zip(examples, log_probabilities, strict=True)]
        means = [min(each / many, NEAREST_TO_ONE) for each, many in zip(sums, tokens, strict=True)]
        chosen, rejected = (mean - math.log(-math.expm1(mean)) for mean in means)  # the log odds
        ratio = chosen - rejected
        push = -beta * sigmoid(-ratio) / count
        # Of the log odds by the mean: 1 / (1 - exp(mean)); by a token's log-probability that, over the tokens.
        by_token = [-1 / math.expm1(mean) / many for mean, many in zip(means, tokens, strict=True)]
        return Loss(
            -sums[0] / total - beta * log_sigmoid(ratio) / count,
            [
                ((push * by_token[0] - 1 / total) * pair.chosen.trained).astype("f4"),
                (-push * by_token[1] * pair.rejected.trained).astype("f4"),
            ],
            {"accuracy": float(ratio > 0) / count, "log_odds_ratio": ratio / count, "cost": -sums[0] / total},
        )

    return loss


class DesirableOrNot:
    """kto: 1 - σ(β (r - z)) of a desirable answer and 1 - σ(β (z - r)) of another, where r = π - π₀ and z is how far
    the model has moved from the bare one on answers to other prompts, at least 0 (Ethayarajh et al.,
    arXiv:2402.01306)."""

    def __init__(self, recipe: Recipe) -> None:
        self._beta, self._bare = recipe.preference.beta, BareModel()

    def terms(self, items: Sequence[Item], learner: Learner, step: int) -> Sequence[Term]:
        """Raises what the learner raises."""
        labelled = [item for item in items if isinstance(item, Labelled)]
        moved = self._moved([each.example for each in labelled], learner)
        bare = self._bare.sums([each.example for each in labelled], learner)
        return [
            Term(
                (each.example.ids,),
                desirable_or_not(each, bare[n], moved, self._beta, len(labelled)),
                (each.example.trained,),
            )
            for n, each in enumerate(labelled)
        ]

    def held_out(self, items: Sequence[Item], learner: Learner) -> Mapping[str, float]:
        """Raises what the learner raises."""
        return measured(self.terms(items, learner, 0), learner)

    def _moved(self, examples: Sequence[Example], learner: Learner) -> float:
        """z: the mean over the step, each prompt with the answer to the next; 0 where there is one alone."""
        others = mismatched(examples)
        if not others:
            return 0.0
        now = learner.log_probabilities([each.ids for each in others], wanted=[each.trained for each in others])
        sums = [summed(each, found) for each, found in zip(others, now, strict=True)]
        bare = self._bare.sums(others, learner)
        return max(0.0, sum(a - b for a, b in zip(sums, bare, strict=True)) / len(others))


def desirable_or_not(
    each: Labelled, bare: float, moved: float, beta: float, count: int
) -> Callable[[Sequence[Array]], Loss]:
    """Of one answer of `count`. Raises nothing."""
    sign = 1.0 if each.desirable else -1.0

    def loss(log_probabilities: Sequence[Array]) -> Loss:
        [found] = log_probabilities
        reward = summed(each.example, found) - bare
        value = sigmoid(sign * beta * (reward - moved))
        push = -sign * beta * value * (1 - value) / count
        name = "reward_desirable" if each.desirable else "reward_undesirable"
        return Loss(
            (1 - value) / count,
            [(push * each.example.trained).astype("f4")],
            {"moved": moved / count, name: beta * reward / count},
        )

    return loss


def mismatched(examples: Sequence[Example]) -> list[Example]:
    """Each prompt with the answer that belongs to the next. Raises nothing."""
    if len(examples) < 2:
        return []
    made = []
    for one, other in zip(examples, (*examples[1:], examples[0]), strict=True):
        prompt, answer = first_trained(one), first_trained(other)
        ids = np.concatenate([one.ids[:prompt], other.ids[answer:]])
        trained = np.concatenate([np.zeros(prompt, np.float32), other.trained[answer:]])
        made.append(Example(ids, trained, one.line))
    return made


def first_trained(example: Example) -> int:
    """Where the answer begins. Raises nothing."""
    return int(np.argmax(example.trained > 0))


def summed(example: Example, log_probabilities: Array) -> float:
    """Over the trained tokens. Raises nothing."""
    return float(example.trained.astype("f8") @ log_probabilities)


def sigmoid(x: float) -> float:
    """Without overflow. Raises nothing."""
    return math.exp(log_sigmoid(x))


def log_sigmoid(x: float) -> float:
    """Without overflow. Raises nothing."""
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


def key_of(example: Example) -> bytes:
    return example.ids.tobytes() + example.trained.tobytes()
