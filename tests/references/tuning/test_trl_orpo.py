"""Fifty steps beside TRL's ORPOTrainer, dense and with experts: the same pairs, order and settings; the same loss.

TRL counts the prompt's tokens in what the chosen answers cost, and here what a prompt supplies is never trained: so the
prompts of these pairs are one token, which nobody predicts.
"""

import copy
from dataclasses import replace

import numpy as np
import pytest

from ouvert.tuning import Preference, way_of
from ouvert.tuning.preferences import OddsRatio

from .beside_trl import (
    APART,
    QUIET,
    VOCABULARY,
    answered,
    in_one_batch,
    in_our_order,
    ours,
    recipe,
    theirs,
    with_parts_apart,
)

pytestmark = QUIET

BETA, RATE = 0.5, 0.003
PAIRS = 30


def pairs(count):
    """Behind each token: counting upwards is better than counting downwards. Answers are of different lengths."""
    random, made = np.random.default_rng(5), []
    for line in range(1, count + 1):
        start = int(random.integers(VOCABULARY))
        made.append(Preference(*(
            answered(start, 1, step * np.arange(1, 1 + int(random.integers(2, 12))), line) for step in (1, -1)
        )))  # fmt: skip
    return tuple(made)


def row_of(pair):
    """What `tokenize_row` makes of a pair."""
    made = {}
    for name, each in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        made |= {
            f"{name}_input_ids": each.ids.tolist(),
            f"{name}_attention_mask": [1] * len(each.ids),
            f"{name}_labels": np.where(each.trained > 0, each.ids, -100).tolist(),
        }
    return made


@pytest.fixture(scope="module")
def of_trl(subjects, tmp_path_factory):
    """of_trl(case): the curve of their trainer."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    class OfIds(ORPOTrainer):
        def tokenize_row(self, feature, model=None):
            return feature

    made = {}

    def curve(case):
        if case not in made:
            args = ORPOConfig(
                **in_one_batch(settings().optimise, tmp_path_factory.mktemp(case)), beta=BETA, max_length=99,
            )  # fmt: skip
            rows = [row_of(pair) for pair in in_our_order(pairs(PAIRS))]
            made[case] = theirs(OfIds, rows, model=with_parts_apart(copy.deepcopy(subjects(case).theirs)), args=args)
        return made[case]

    return curve


def settings(beta=BETA):
    return recipe("orpo", RATE, preference={"beta": beta})


@pytest.mark.parametrize("case", ["llama", "mixtral"])
def test_fifty_steps_have_the_losses_of_trl(subjects, of_trl, case):
    found = ours(subjects(case), way_of(settings()), settings(), pairs(PAIRS))
    assert found.losses[-1] < 0.9 * found.losses[0]
    assert found.apart(of_trl(case)) < APART
    np.testing.assert_allclose(found.norms, of_trl(case).norms, rtol=5e-3, atol=1e-3)


class OneTurnedRound(OddsRatio):
    """The first pair of each step prefers the rejected answer."""

    def terms(self, items, learner, step):
        turned = [replace(each, chosen=each.rejected, rejected=each.chosen) for each in items[:1]]
        return super().terms([*items[1:], *turned], learner, step)


def test_a_pair_that_is_turned_round_and_another_beta_are_noticed(subjects, of_trl):
    found = ours(subjects("llama"), OneTurnedRound(settings()), settings(), pairs(PAIRS))
    assert found.apart(of_trl("llama")) > 10 * APART
    found = ours(subjects("llama"), way_of(settings(0.45)), settings(0.45), pairs(PAIRS))
    assert found.apart(of_trl("llama")) > 10 * APART
