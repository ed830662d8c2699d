"""Fifty steps beside TRL's SFTTrainer: the same tiny checkpoint, adapter, examples, order, settings; the same loss."""

import copy

import numpy as np
import pytest

from ouvert.tuning import Example, methods

from .beside_trl import APART, VOCABULARY, in_our_order, ours, recipe, settings_of_theirs, theirs

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def examples(count):
    """Sequences that count upwards from somewhere; the first tokens are not trained, as a prompt's."""
    random, made = np.random.default_rng(3), []
    for line in range(1, count + 1):
        length = int(random.integers(5, 30))
        ids = ((int(random.integers(VOCABULARY)) + np.arange(length)) % VOCABULARY).astype("i4")
        trained = np.ones(length, "f4")
        trained[: int(random.integers(1, length - 2))] = 0
        made.append(Example(ids, trained, line))
    return tuple(made)


@pytest.fixture(scope="module")
def of_trl(subjects, tmp_path_factory):
    from trl import SFTConfig, SFTTrainer

    rows = [
        {"input_ids": each.ids.tolist(), "labels": np.where(each.trained > 0, each.ids, -100).tolist()}
        for each in in_our_order(examples(40))
    ]
    args = SFTConfig(**settings_of_theirs(recipe().optimise, tmp_path_factory.mktemp("sft")))
    return theirs(SFTTrainer, rows, model=copy.deepcopy(subjects("llama").theirs), args=args)


def test_fifty_steps_have_the_losses_of_trl(subjects, of_trl):
    found = ours(subjects("llama"), methods.Supervised(), recipe(), examples(40))
    assert found.losses[-1] < 0.9 * found.losses[0]
    assert found.apart(of_trl) < APART
    np.testing.assert_allclose(found.norms, of_trl.norms, rtol=2e-3)


class OneExampleOneVote(methods.Supervised):
    """The mean of each example's own mean, as trainers had it before transformers PR 34191."""

    def terms(self, items, learner, step):
        made = []
        for each in items:
            [term] = super().terms([each], learner, step)
            made.append(methods.Term(term.sequences, shared(term.loss, len(items)), term.wanted))
        return made


def shared(loss, count):
    def part(found):
        whole = loss(found)
        return methods.Loss(whole.value / count, [each / np.float32(count) for each in whole.gradients])

    return part


def test_another_mean_than_that_of_all_tokens_is_noticed(subjects, of_trl):
    found = ours(subjects("llama"), OneExampleOneVote(), recipe(), examples(40))
    assert found.apart(of_trl) > 10 * APART
