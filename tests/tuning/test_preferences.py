"""Losses of preferences: their gradients are derivatives, and their values those of their papers, computed by torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ouvert.tuning import Example, Labelled, Preference, Recipe
from ouvert.tuning.preferences import DesirableOrNot, DirectPreference, OddsRatio, mismatched
from ouvert.tuning.terms import joined, sequences_of

from .tiny_learner import TinyLearner, examples


def pairs(count):
    made = examples(2 * count)
    return [Preference(made[2 * n], made[2 * n + 1]) for n in range(count)]


def labelled(count):
    return [Labelled(each, n % 3 != 0) for n, each in enumerate(examples(count))]


def moved_learner():
    """One whose adapter does something."""
    learner = TinyLearner()
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, each in learner.parameters.items():
            if name.endswith(".b"):
                each += 0.3 * torch.randn(each.shape, generator=random)
    return learner


WAYS = {
    "dpo": (DirectPreference, pairs),
    "orpo": (OddsRatio, pairs),
    "kto": (DesirableOrNot, labelled),
}


def way(method, beta=0.3):
    return WAYS[method][0](Recipe.of({"method": method, "preference": {"beta": beta}}))


def sums(examples_, learner, *, adapted=True):
    found = learner.log_probabilities([each.ids for each in examples_], adapted=adapted)
    totals = [float(each.trained @ lp) for each, lp in zip(examples_, found, strict=True)]
    return torch.tensor(totals, dtype=torch.float64)


@pytest.mark.parametrize("method", WAYS)
def test_gradients_are_derivatives(method):
    """By central differences at every trained token."""
    learner, items = moved_learner(), WAYS[method][1](4)
    terms = way(method).terms(items, learner, 0)
    loss = joined(terms)
    at = learner.log_probabilities(sequences_of(terms))
    gradients = loss(at).gradients
    for n, gradient in enumerate(gradients):
        for place in range(len(gradient)):
            value = []
            for sign in (1, -1):
                moved = [each.copy() for each in at]
                moved[n][place] += sign * 1e-5
                value.append(loss(moved).value)
            assert gradient[place] == pytest.approx((value[0] - value[1]) / 2e-5, abs=1e-6)


def test_direct_preference_is_that_of_its_paper():
    learner, items = moved_learner(), pairs(5)
    found = way("dpo").held_out(items, learner)
    chosen, rejected = [each.chosen for each in items], [each.rejected for each in items]
    margin = 0.3 * (
        sums(chosen, learner) - sums(rejected, learner)
        - sums(chosen, learner, adapted=False) + sums(rejected, learner, adapted=False)
    )  # fmt: skip
    assert found["loss"] == pytest.approx(float(-F.logsigmoid(margin).mean()), rel=1e-9)
    assert found["accuracy"] == pytest.approx(float((margin > 0).double().mean()))


def test_a_model_that_has_not_moved_is_undecided():
    assert way("dpo").held_out(pairs(3), TinyLearner())["loss"] == pytest.approx(np.log(2))
    assert way("kto").held_out(labelled(3), TinyLearner())["loss"] == pytest.approx(0.5)


def test_the_odds_ratio_is_that_of_its_paper():
    learner, items = moved_learner(), pairs(5)
    found = way("orpo").held_out(items, learner)
    chosen, rejected = [each.chosen for each in items], [each.rejected for each in items]
    count = [torch.tensor([float(each.trained.sum()) for each in some]) for some in (chosen, rejected)]
    means = [sums(some, learner) / many for some, many in zip((chosen, rejected), count, strict=True)]
    odds = [mean - torch.log1p(-torch.exp(mean)) for mean in means]
    expected = -sums(chosen, learner).sum() / count[0].sum() - 0.3 * F.logsigmoid(odds[0] - odds[1]).mean()
    assert found["loss"] == pytest.approx(float(expected), rel=1e-9)


def test_desirable_answers_are_held_against_how_far_the_model_moved():
    learner, items = moved_learner(), labelled(5)
    found = way("kto").held_out(items, learner)
    each = [item.example for item in items]
    others = mismatched(each)
    moved = (sums(others, learner) - sums(others, learner, adapted=False)).mean().clamp(min=0)
    reward = sums(each, learner) - sums(each, learner, adapted=False)
    sign = torch.tensor([1.0 if item.desirable else -1.0 for item in items], dtype=torch.float64)
    assert found["loss"] == pytest.approx(float((1 - torch.sigmoid(0.3 * sign * (reward - moved))).mean()), rel=1e-9)
    assert float(moved) > 0


def test_a_mismatched_pair_has_the_prompt_of_one_and_the_answer_of_the_next():
    one, two = (
        Example(np.array(ids, np.int32), np.array(trained, np.float32), line)
        for line, (ids, trained) in enumerate([([1, 2, 3, 4], [0, 0, 1, 1]), ([5, 6, 7], [0, 1, 1])], 1)
    )
    found = mismatched([one, two])
    assert [each.ids.tolist() for each in found] == [[1, 2, 6, 7], [5, 3, 4]]
    assert [each.trained.tolist() for each in found] == [[0, 0, 1, 1], [0, 1, 1]]
    assert mismatched([one]) == []


@pytest.mark.parametrize("method", WAYS)
def test_learning_lowers_the_loss(method):
    learner, items, how = TinyLearner(), WAYS[method][1](6), way(method)
    before = how.held_out(items, learner)["loss"]
    optimiser = torch.optim.SGD(learner.parameters.values(), lr=0.5)
    for step in range(20):
        optimiser.zero_grad()
        terms = how.terms(items, learner, step)
        learner.learn(sequences_of(terms), joined(terms))
        optimiser.step()
    assert how.held_out(items, learner)["loss"] < before - 0.01


def test_the_bare_model_is_asked_once_for_each_sequence():
    learner, items, how = TinyLearner(), pairs(4), way("dpo")
    asked = []
    plain = learner.log_probabilities
    learner.log_probabilities = lambda sequences, **kind: (
        asked.append((len(sequences), kind["adapted"])),
        plain(sequences, **kind),
    )[1]
    how.terms(items, learner, 0)
    how.terms(items[::-1], learner, 1)
    assert asked == [(8, False)]
