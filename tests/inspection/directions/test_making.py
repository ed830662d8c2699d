"""Directions from prompts: a planted one is found, and none where there is none."""

import numpy as np
import pytest

from ouvert.inspection import InspectionError
from ouvert.inspection.directions.making import auc, mean_difference


def prompts(token, count, seed, drawn=2, size=60):
    """Some random tokens, then `token` again and again: what tells prompts apart at the last token."""
    random = np.random.default_rng(seed)
    return [[*random.integers(0, size, drawn).tolist(), *[token] * 4] for _ in range(count)]


def test_two_kinds_of_prompts_are_told_apart_and_shuffled_labels_are_not(subject):
    direction = mean_difference(subject, prompts(3, 16, 1), prompts(4, 16, 2))
    facts = direction.facts
    assert sorted(direction.vectors) == list(range(subject.layers))
    assert facts["auc"]["held_out"] > 0.8
    assert facts["auc"]["held_out_prompts"] == [4, 4]
    assert facts["auc"]["shuffled"]["low"] <= 0.5 <= facts["auc"]["shuffled"]["high"]
    assert 0.3 < facts["auc"]["shuffled"]["mean"] < 0.7
    assert facts["prompts"]["positive"]["count"] == 16
    assert len(facts["norms"]) == subject.layers


def test_the_threshold_lies_between_the_two_sets(subject_called):
    """Of prompts that made nothing: the positive ones lie above it, the others below."""
    subject = subject_called("llama")
    direction = mean_difference(subject, prompts(3, 16, 1), prompts(4, 16, 2))
    for token, side in ((3, 1), (4, -1)):
        for ids in prompts(token, 8, 90):
            watching = subject.watch([f"layers.{direction.layer}.out"])
            watching.step([(watching.new_sequence(len(ids)), np.array(ids, np.int32))], "none")
            projection = watching.seen(f"layers.{direction.layer}.out")[-1] @ direction.unit()
            watching.close()
            assert side * (projection - direction.facts["threshold"]) > 0


def test_prompts_of_one_kind_are_not_told_apart(subject_called):
    """Over several seeds the held-out AUC of nothing is about a half."""
    subject = subject_called("llama")
    found = [
        mean_difference(subject, prompts(3, 16, seed), prompts(3, 16, 100 + seed), seed=seed).facts["auc"]["held_out"]
        for seed in range(12)
    ]
    assert 0.3 < np.mean(found) < 0.7


def test_the_vector_is_the_difference_of_the_means_in_the_making_half(subject_called, in_numpy):
    subject = subject_called("qwen2", exact=True)
    positive, negative = prompts(3, 8, 1), prompts(4, 8, 2)
    direction = mean_difference(subject, positive, negative, token=-1, seed=4)
    random = np.random.default_rng(4)
    halves = [[each[n] for n in random.permutation(8)[:4]] for each in (positive, negative)]
    name = "layers.1.out"
    means = [np.mean([in_numpy("qwen2", [name], ids)[name][-1] for ids in half], axis=0) for half in halves]
    np.testing.assert_allclose(direction.vectors[1], means[0] - means[1], rtol=2e-3, atol=2e-4)


def test_the_token_counts(subject_called):
    """The prompts differ behind their second token only: there, nothing is known yet."""
    subject = subject_called("llama")
    sets = [prompts(token, 16, 1, drawn=2) for token in (3, 4)]
    assert mean_difference(subject, *sets).facts["auc"]["held_out"] == 1
    assert mean_difference(subject, *sets, token=1).facts["auc"]["held_out"] < 1
    begun = [[[7, *ids] for ids in each] for each in sets]
    with pytest.raises(InspectionError, match="at token 0 the two sets are the same"):
        mean_difference(subject, *begun, token=0)


def test_auc_is_the_share_of_pairs_in_order():
    assert auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == (1 + 1 + 1 + 0.5) / 4
    assert auc(np.array([0.0]), np.array([1.0])) == 0


def test_too_few_shared_and_short_prompts_are_refused(subject_called):
    subject = subject_called("llama")
    good = prompts(3, 8, 1)
    with pytest.raises(InspectionError, match="1 different negative prompts, expected 8 or more"):
        mean_difference(subject, good, [good[0]] * 20)
    with pytest.raises(InspectionError, match="1 prompts stand in both sets"):
        mean_difference(subject, good, [*prompts(4, 8, 2), good[0]])
    with pytest.raises(InspectionError, match="positive prompt 1 has 6 tokens and no token 6"):
        mean_difference(subject, good, prompts(4, 8, 2), token=6)
    with pytest.raises(InspectionError, match="has no tokenizer"):
        mean_difference(subject, ["a text"] * 8, good)
