"""Cluster bootstrap, design effect and sign flips: simulated with a seed, and by counting."""

import itertools

import numpy as np
import pytest

from ouvert.evaluation.statistics import bootstrap_interval, design_effect, ratio_interval, sign_flip_p
from ouvert.evaluation.statistics.clusters import draws


def named(numbers):
    return [str(number) for number in numbers]


def test_the_same_scores_have_the_same_interval_and_it_is_written_down():
    scores, clusters = [i / 7 for i in range(8)] * 3, named(i // 4 for i in range(24))
    found = ratio_interval(scores, None, clusters)
    assert found == ratio_interval(scores, None, clusters)
    # Written down once: another NumPy, another day, another machine give these too.
    assert next(draws(10, 0))[0].tolist() == [6, 2, 0, 0, 8, 9, 6, 7, 5, 9]


def test_resamples_take_everything_equally_often():
    counts = np.bincount(np.concatenate([block.ravel() for block in draws(7, 3)]), minlength=7)
    assert counts.sum() == 14_000
    assert np.abs(counts - 2000).max() < 150


def test_a_bootstrapped_mean_of_many_items_has_the_interval_of_the_normal_distribution():
    scores = np.random.default_rng(1).random(1000)
    found = ratio_interval(scores, None, named(range(1000)))
    reach = 1.96 * scores.std(ddof=1) / 1000**0.5
    assert found.low == pytest.approx(scores.mean() - reach, abs=0.1 * reach)
    assert found.high == pytest.approx(scores.mean() + reach, abs=0.1 * reach)


@pytest.mark.parametrize(("clusters", "size"), [(8, 6), (25, 4)])
def test_intervals_over_clusters_cover_where_intervals_over_items_do_not(clusters, size):
    random = np.random.default_rng(5)
    names, alone = named(np.repeat(range(clusters), size)), named(range(clusters * size))
    covered, covered_alone = 0, 0
    for seed in range(200):
        scores = np.repeat(random.normal(0, 1, clusters), size) + random.normal(0, 1, clusters * size)
        over_clusters, over_items = ratio_interval(scores, None, names, seed=seed), ratio_interval(
            scores, None, alone, seed=seed)  # fmt: skip
        covered += over_clusters.low <= 0 <= over_clusters.high
        covered_alone += over_items.low <= 0 <= over_items.high
    assert covered >= 0.91 * 200
    assert covered_alone < 0.85 * 200


def test_a_ratio_weighs_its_items_by_what_is_below_the_line():
    found = ratio_interval([10, 1, 1], [10, 2, 2], named(range(3)))
    assert found.low == pytest.approx(0.5)
    assert found.high == pytest.approx(1.0)


def test_a_ratio_without_anything_below_the_line_reaches_to_infinity():
    assert ratio_interval([1, 1, 1, 1], [1, 0, 0, 0], named(range(4))).high == float("inf")


def test_any_statistic_can_be_resampled():
    scores = np.arange(20.0)
    found, estimates = bootstrap_interval(lambda items: float(np.mean(scores[items])), named(range(20)))
    assert len(estimates) == 2000
    mean = ratio_interval(scores, None, named(range(20)))
    assert (found.low, found.high) == pytest.approx((mean.low, mean.high))


def test_the_design_effect_is_the_size_of_clusters_that_say_one_thing():
    scores = np.repeat(np.random.default_rng(2).random(400), 5)
    assert design_effect(scores, named(np.repeat(range(400), 5))) == pytest.approx(5, rel=0.02)
    assert design_effect(scores, named(range(2000))) == 1.0
    independent = np.random.default_rng(2).random(2000)
    assert design_effect(independent, named(np.repeat(range(400), 5))) == pytest.approx(1, abs=0.2)
    assert design_effect([1, 1, 1, 1], ["a", "a", "b", "b"]) == 1.0


def test_fifty_seven_subjects_of_five_questions_widen_the_error_as_simulated():
    # A subject's difficulty varies with a standard deviation of 0.2: error 0.035 in place of 0.030.
    random = np.random.default_rng(8)
    names = named(np.repeat(range(57), 5))
    effects = []
    for _ in range(60):
        difficulty = np.repeat(np.clip(random.normal(0.5, 0.2, 57), 0, 1), 5)
        effects.append(design_effect((random.random(285) < difficulty).astype(float), names))
    assert np.mean(effects) == pytest.approx((35 / 30) ** 2, abs=0.4)


@pytest.mark.parametrize("clusters", [1, 3, 6])
def test_few_clusters_are_flipped_in_every_way(clusters):
    sums = np.random.default_rng(clusters).normal(size=clusters)
    ways = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=clusters)]
    expected = np.mean([way >= abs(sums.sum()) - 1e-9 for way in ways])
    assert sign_flip_p(sums, named(range(clusters))) == pytest.approx(expected)


def test_random_flips_come_near_to_all_flips():
    # Scores of one size: the sign-flip test is then the sign test, which has a closed form.
    differences = [1.0] * 30 + [-1.0] * 14 + [0.0] * 50
    assert sign_flip_p(differences, named(range(94))) == pytest.approx(0.0226, abs=0.005)
    assert sign_flip_p([0.0] * 30, named(range(30))) == 1.0


def test_sign_flips_keep_their_level():
    random = np.random.default_rng(4)
    found = [
        sign_flip_p(random.exponential(size=12) * random.choice([-1, 1], 12), named(range(12))) for _ in range(300)
    ]
    assert 0.02 < np.mean([p <= 0.05 for p in found]) < 0.08
