"""Fifty steps beside TRL's KTOTrainer, dense and with experts: the same answers, order and settings; the same loss.

Its own preparation is used, so that answers are put behind other prompts as it does: each batch is given to it from the
end, because it takes the answer before where the paper and we take the one behind.
"""

import copy

import numpy as np
import pytest

from ouvert.tuning import Labelled, way_of
from ouvert.tuning.preferences import DesirableOrNot

from .beside_trl import (
    ACCUMULATED,
    APART,
    BATCH,
    QUIET,
    STOP,
    VOCABULARY,
    answered,
    in_one_batch,
    in_our_order,
    ours,
    recipe,
    theirs,
    with_parts_apart,
    word,
)

pytestmark = QUIET

BETA, RATE = 0.1, 0.003
ANSWERS = 32


def answers(count):
    """Behind each prompt an answer that counts upwards is desirable, one that counts downwards is not."""
    random, made = np.random.default_rng(5), []
    for line in range(1, count + 1):
        start, prompt, length = (int(random.integers(*most)) for most in ((VOCABULARY,), (2, 8), (2, 12)))
        wanted = line % 3 != 0
        example = answered(start, prompt, (1 if wanted else -1) * np.arange(1, 1 + length), line)
        example.ids[-1] = STOP  # they would add it
        made.append(Labelled(example, wanted))
    return tuple(made)


def row_of(each):
    prompt = int((each.example.trained == 0).sum())
    words = [word(n) for n in each.example.ids]
    return {
        "prompt": " ".join(words[:prompt]),
        "completion": " " + " ".join(words[prompt:]),
        "label": each.desirable,
    }


def each_batch_from_the_end(rows):
    size = BATCH * ACCUMULATED
    return [row for n in range(0, len(rows), size) for row in reversed(rows[n : n + size])]


@pytest.fixture(scope="module")
def of_trl(subjects, tmp_path_factory):
    """of_trl(case): the curve of their trainer. What it calls the reference is the base without any adapter."""
    from trl import KTOConfig, KTOTrainer

    made = {}

    def curve(case):
        if case not in made:
            model = with_parts_apart(copy.deepcopy(subjects(case).theirs))
            args = KTOConfig(
                **in_one_batch(settings().optimise, tmp_path_factory.mktemp(case)), beta=BETA, max_length=None,
                router_aux_loss_coef=0.0,
            )  # fmt: skip
            rows = each_batch_from_the_end([row_of(each) for each in in_our_order(answers(ANSWERS))])
            reference = copy.deepcopy(model).unload()
            made[case] = theirs(KTOTrainer, rows, as_ids=False, model=model, ref_model=reference, args=args)
        return made[case]

    return curve


def settings(beta=BETA):
    return recipe("kto", RATE, preference={"beta": beta})


@pytest.mark.parametrize("case", ["llama", "mixtral"])
def test_fifty_steps_have_the_losses_of_trl(subjects, of_trl, case):
    found = ours(subjects(case), way_of(settings()), settings(), answers(ANSWERS))
    assert found.losses[-1] < 0.8 * found.losses[0]
    assert found.apart(of_trl(case)) < APART
    np.testing.assert_allclose(found.norms, of_trl(case).norms, rtol=5e-3, atol=1e-3)


class FromNowhere(DesirableOrNot):
    """How far the model has moved is left out."""

    def _moved(self, examples, learner):
        return 0.0


def test_a_forgotten_move_and_another_beta_are_noticed(subjects, of_trl):
    found = ours(subjects("llama"), FromNowhere(settings()), settings(), answers(ANSWERS))
    assert found.apart(of_trl("llama")) > 10 * APART
    found = ours(subjects("llama"), way_of(settings(0.09)), settings(0.09), answers(ANSWERS))
    assert found.apart(of_trl("llama")) > 10 * APART
