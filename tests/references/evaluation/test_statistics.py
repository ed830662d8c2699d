"""Our statistics beside SciPy and statsmodels."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import brentq, minimize_scalar
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.inter_rater import cohens_kappa as their_kappa
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from ouvert.evaluation.statistics import (
    Vote,
    cohens_kappa,
    design_effect,
    equivalence_p,
    holm,
    mcnemar_mid_p,
    pass_at,
    ratings,
    ratio_interval,
    sign_flip_p,
    smallest_visible_unpaired,
    tango_interval,
    wilson_interval,
)
from ouvert.evaluation.statistics.student import t_cdf, two_sided_t


@pytest.mark.parametrize("n", [1, 7, 20, 164, 1319])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson(n, level):
    for right in sorted({0, 1, n // 3, n - 1, n}):
        ours, theirs = wilson_interval(right, n, level), proportion_confint(right, n, 1 - level, method="wilson")
        assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (3, 11), (40, 20), (211, 260)])
def test_mcnemar(b, c):
    exact = mcnemar([[9, b], [c, 9]], exact=True).pvalue
    # The mid-p is the exact p without half of what was seen, on both sides; with as many on both sides it is 1.
    expected = 1.0 if b == c else exact - scipy.stats.binom.pmf(min(b, c), b + c, 0.5)
    assert mcnemar_mid_p(b, c) == pytest.approx(expected, rel=1e-9)


def score_statistic(b, c, n, difference):
    """Tango's statistic, with the nuisance parameter found by maximising the likelihood numerically."""

    def minus_log_likelihood(second):
        first, rest = second + difference, 1 - 2 * second - difference
        parts = [(b, first), (c, second), (n - b - c, rest)]
        return -sum(count * math.log(max(chance, 1e-300)) for count, chance in parts if count)

    lowest, highest = max(0.0, -difference), (1 - difference) / 2
    found = minimize_scalar(minus_log_likelihood, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-13})
    second = min([found.x, lowest, highest], key=minus_log_likelihood)
    variance = n * (2 * second + difference - difference**2)
    return (b - c - n * difference) / math.sqrt(variance)


@pytest.mark.parametrize(("b", "c", "n"), [(1, 7, 21), (12, 2, 50), (40, 20, 160), (0, 3, 20), (9, 9, 100), (0, 0, 30)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_tango(b, c, n, level):
    z, found = scipy.stats.norm.ppf(0.5 + level / 2), (b - c) / n
    low = brentq(lambda at: score_statistic(b, c, n, at) - z, -0.9999, found - 1e-6)
    high = brentq(lambda at: score_statistic(b, c, n, at) + z, found + 1e-6, 0.9999)
    ours = tango_interval(b, c, n, level)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=2e-6)


@pytest.mark.parametrize(("b", "c", "n"), [(5, 6, 400), (30, 2, 400), (3, 3, 60)])
def test_two_one_sided_tests(b, c, n):
    expected = max(
        scipy.stats.norm.sf(score_statistic(b, c, n, -0.05)), scipy.stats.norm.cdf(score_statistic(b, c, n, 0.05))
    )
    assert equivalence_p(b, c, n, 0.05) == pytest.approx(expected, rel=1e-4)


def test_holm():
    random = np.random.default_rng(0)
    for count in (1, 2, 19):
        p_values = random.random(count) ** 3
        assert holm(list(p_values)) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_student():
    for degrees, level in itertools.product((1, 2, 3, 8, 56, 1000), (0.8, 0.95, 0.99)):
        assert two_sided_t(level, degrees) == pytest.approx(scipy.stats.t.ppf(0.5 + level / 2, degrees), rel=1e-9)
        assert t_cdf(-1.3, degrees) == pytest.approx(scipy.stats.t.cdf(-1.3, degrees), abs=1e-12)


def test_power_of_unpaired_shares():
    from statsmodels.stats.power import NormalIndPower

    # Cohen's h is the difference of arcsines: for small differences about p = 0.5 twice the difference.
    for n in (500, 1319, 3000):
        effect = NormalIndPower().solve_power(nobs1=n, alpha=0.05, power=0.8)
        assert smallest_visible_unpaired(n) == pytest.approx(effect / 2, rel=1e-3)


def test_kappa():
    random = np.random.default_rng(2)
    first = random.integers(0, 3, 120)
    second = np.where(random.random(120) < 0.6, first, random.integers(0, 3, 120))
    table = np.zeros((3, 3))
    np.add.at(table, (first, second), 1)
    theirs, ours = their_kappa(table), cohens_kappa(first.tolist(), second.tolist())
    assert ours.value == pytest.approx(theirs.kappa)
    assert (ours.interval.low, ours.interval.high) == pytest.approx((theirs.kappa_low, theirs.kappa_upp))


def test_pass_at_k():
    for n, right, k in [(20, 3, 5), (10, 0, 3), (10, 10, 1), (50, 7, 10)]:
        assert pass_at(k, n, right) == pytest.approx(1 - scipy.stats.hypergeom.pmf(0, n, right, k))


def test_a_bootstrapped_mean():
    scores = np.random.default_rng(6).random(300)
    theirs = scipy.stats.bootstrap(
        (scores,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = ratio_interval(scores, None, [str(i) for i in range(300)])
    width = theirs.high - theirs.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)


def test_ratings_are_the_maximum_of_the_likelihood():
    from scipy.optimize import minimize

    random = np.random.default_rng(9)
    votes = []
    for number in range(300):
        one, other = random.choice(3, 2, replace=False)
        score = float(random.choice([0, 0.5, 1], p=[0.2, 0.2, 0.6] if one < other else [0.6, 0.2, 0.2]))
        votes.append(Vote(prompt=str(number), first="abc"[one], second="abc"[other], score=score))

    def minus_log_likelihood(at):
        total = np.sum(np.square(at)) / 2 / (800 * math.log(10) / 400) ** 2
        for vote in votes:
            one, other = at["abc".index(vote.first)], at["abc".index(vote.second)]
            weights = np.exp([one, at[3] + (one + other) / 2, other])
            total -= math.log(weights[{1.0: 0, 0.5: 1, 0.0: 2}[vote.score]] / weights.sum())
        return total

    best = minimize(minus_log_likelihood, np.zeros(4), tol=1e-10).x[:3]
    expected = dict(zip("abc", (best - best.mean()) * 400 / math.log(10), strict=True))
    for each in ratings(votes):
        assert each.rating == pytest.approx(expected[each.contestant], abs=0.02)


def test_the_design_effect_is_that_of_a_cluster_robust_regression_on_nothing():
    import statsmodels.api as sm

    random = np.random.default_rng(7)
    clusters = random.integers(0, 23, 200)
    scores = random.normal(size=23)[clusters] + random.normal(size=200)
    fitted = sm.OLS(scores, np.ones(200))
    robust = fitted.fit(cov_type="cluster", cov_kwds={"groups": clusters}).bse[0] ** 2
    alone = fitted.fit().bse[0] ** 2
    assert design_effect(scores, [str(each) for each in clusters]) == pytest.approx(robust / alone)


@pytest.mark.parametrize("clusters", [9, 40])
def test_sign_flips(clusters):
    differences = np.random.default_rng(clusters).exponential(size=clusters) - 0.6
    theirs = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(2)
    ).pvalue
    ours = sign_flip_p(differences, [str(each) for each in range(clusters)])
    assert ours == pytest.approx(theirs, abs=1e-12 if clusters == 9 else 0.012)
