"""How the items of a step become its loss, one way for each method: sft, dpo, orpo, kto, grpo."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ouvert.tuning.error import TuningError
from ouvert.tuning.example import Example, Item
from ouvert.tuning.learner import Array, Learner, Loss
from ouvert.tuning.preferences import DesirableOrNot, DirectPreference, OddsRatio
from ouvert.tuning.recipe import Method, Recipe
from ouvert.tuning.reinforce import GroupRelative, Sampler
from ouvert.tuning.rewards import judges_of
from ouvert.tuning.terms import Term, measured


class Way(Protocol):
    """What a method does with items."""

    def terms(self, items: Sequence[Item], learner: Learner, step: int) -> Sequence[Term]:
        """The terms of the loss of an optimiser's step, by its number; what has to be known beforehand (another model's
        log-probabilities, answers) is computed here. The same for the same adapter, items and step. Raises
        what the learner raises."""

    def held_out(self, items: Sequence[Item], learner: Learner) -> Mapping[str, float]:
        """What is measured of items that are not trained on: "loss", the lower the better, and what else is worth
        telling. Raises what the learner raises."""


class Supervised:
    """sft: the mean of what the trained tokens cost, over all trained tokens of the step (not of each example, so that
    accumulated calls are one large batch)."""

    def terms(self, items: Sequence[Item], learner: Learner, step: int) -> Sequence[Term]:
        """Raises nothing."""
        examples = [item for item in items if isinstance(item, Example)]
        total = float(sum(example.trained.sum(dtype="f8") for example in examples))
        return [Term((each.ids,), mean_cost(each.trained, total), (each.trained,)) for each in examples]

    def held_out(self, items: Sequence[Item], learner: Learner) -> Mapping[str, float]:
        """Raises what the learner raises."""
        return measured(self.terms(items, learner, 0), learner)


def mean_cost(trained: Array, total: float) -> Callable[[Sequence[Array]], Loss]:
    """Of one sequence, among others that count `total` together. Raises nothing."""
    share = trained.astype("f8") / (total or 1.0)

    def loss(log_probabilities: Sequence[Array]) -> Loss:
        [found] = log_probabilities
        return Loss(-float(share @ found), [(-share).astype("f4")])

    return loss


# Method -> what makes its way. Those that need more than the recipe (a sampler) get it when they are made.
WAYS: Mapping[Method, Callable[[Recipe], Way]] = {
    "sft": lambda recipe: Supervised(),
    "dpo": DirectPreference,
    "orpo": OddsRatio,
    "kto": DesirableOrNot,
}


def way_of(recipe: Recipe, sampler: Callable[[], Sampler] | None = None) -> Way:
    """What the recipe's method does. `sampler` makes what answers while training (grpo). Raises TuningError for a
    method that needs one and gets none, and for rewards that there are not."""
    if recipe.method != "grpo":
        return WAYS[recipe.method](recipe)
    judges = judges_of(recipe.reward.use, owns_files=True)
    if sampler is None:
        raise TuningError(
            "tuning with rewards (grpo): nothing answers here, expected a sampler. Use `ouvert tune --method grpo`."
        )
    return GroupRelative(recipe, sampler(), judges)
