"""Fifty steps beside TRL's DPOTrainer, dense and with experts: the same pairs, order and settings; the same loss."""

import copy

import numpy as np
import pytest

from ouvert.tuning import Preference, way_of
from ouvert.tuning.preferences import DirectPreference

from .beside_trl import (
    APART,
    QUIET,
    VOCABULARY,
    answered,
    in_our_order,
    ours,
    recipe,
    settings_of_theirs,
    theirs,
    with_parts_apart,
)

pytestmark = QUIET

BETA, RATE = 0.1, 0.003  # so that the loss is still far from 0 after fifty steps
PAIRS = 30


def pairs(count):
    """Behind each prompt: counting upwards is better than counting downwards. Answers are of different lengths."""
    random, made = np.random.default_rng(5), []
    for line in range(1, count + 1):
        start, prompt = int(random.integers(VOCABULARY)), int(random.integers(2, 8))
        made.append(Preference(*(
            answered(start, prompt, step * np.arange(1, 1 + int(random.integers(2, 12))), line) for step in (1, -1)
        )))  # fmt: skip
    return tuple(made)


def row_of(pair):
    prompt = int((pair.chosen.trained == 0).sum())
    return {
        "prompt_ids": pair.chosen.ids[:prompt].tolist(),
        "chosen_ids": pair.chosen.ids[prompt:].tolist(),
        "rejected_ids": pair.rejected.ids[prompt:].tolist(),
    }


@pytest.fixture(scope="module")
def of_trl(subjects, tmp_path_factory):
    """of_trl(case): the curve of their trainer. What it calls the reference is the base without any adapter."""
    from trl import DPOConfig, DPOTrainer

    made = {}

    def curve(case):
        if case not in made:
            model = with_parts_apart(copy.deepcopy(subjects(case).theirs))
            # A router is never trained here, so nothing is asked of how evenly it chooses.
            args = DPOConfig(
                **settings_of_theirs(settings().optimise, tmp_path_factory.mktemp(case)), beta=BETA, max_length=None,
                router_aux_loss_coef=0.0,
            )  # fmt: skip
            rows = [row_of(pair) for pair in in_our_order(pairs(PAIRS))]
            made[case] = theirs(DPOTrainer, rows, model=model, ref_model=copy.deepcopy(model).unload(), args=args)
        return made[case]

    return curve


def settings(beta=BETA):
    return recipe("dpo", RATE, preference={"beta": beta})


@pytest.mark.parametrize("case", ["llama", "mixtral"])
def test_fifty_steps_have_the_losses_of_trl(subjects, of_trl, case):
    found = ours(subjects(case), way_of(settings()), settings(), pairs(PAIRS))
    assert found.losses[-1] < 0.5 * found.losses[0]
    assert found.apart(of_trl(case)) < APART
    np.testing.assert_allclose(found.norms, of_trl(case).norms, rtol=5e-3, atol=1e-3)


class FromTheAdapter(DirectPreference):
    """Measured from where the adapter begins, not from the base: what TRL does with an adapter that is trained on."""

    def terms(self, items, learner, step):
        if step == 0:
            self._bare.sums([each for pair in pairs(PAIRS) for each in (pair.chosen, pair.rejected)], Adapted(learner))
        return super().terms(items, learner, step)


class Adapted:
    def __init__(self, learner):
        self._learner = learner

    def log_probabilities(self, sequences, *, adapted, wanted):
        return self._learner.log_probabilities(sequences, wanted=wanted)


def test_another_reference_and_another_beta_are_noticed(subjects, of_trl):
    found = ours(subjects("llama"), FromTheAdapter(settings()), settings(), pairs(PAIRS))
    assert found.apart(of_trl("llama")) > 10 * APART
    found = ours(subjects("llama"), way_of(settings(0.09)), settings(0.09), pairs(PAIRS))
    assert found.apart(of_trl("llama")) > 10 * APART
