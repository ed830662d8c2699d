"""Wilson, McNemar, Tango, Holm, equivalence, power, pass@k, kappa: published values, and counting every case."""

import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest

from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.statistics import (
    clustered_p,
    cohens_kappa,
    equivalence_p,
    holm,
    is_equivalent,
    items_for,
    mcnemar_mid_p,
    pass_at,
    smallest_visible,
    smallest_visible_unpaired,
    tango_interval,
    wilson_interval,
)
from ouvert.evaluation.statistics.student import t_cdf, two_sided_t


def binomial(n, share):
    return [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]


def coverage(n, share, interval):
    """How often an interval holds the true share: every count, weighted by its probability."""
    chances = binomial(n, share)
    return sum(chances[k] for k in range(n + 1) if interval(k, n).low <= share <= interval(k, n).high)


def wald_interval(right, n):
    reach = 1.959964 * math.sqrt(right / n * (1 - right / n) / n)
    return Interval(right / n - reach, right / n + reach)


def test_wilson_gives_the_published_interval_of_15_in_148():
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I: 0.0624 to 0.1605.
    found = wilson_interval(15, 148)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0624, 0.1605)


def test_wilson_covers_where_wald_covers_a_third():
    assert coverage(20, 0.02, wald_interval) < 0.34
    assert coverage(20, 0.02, wilson_interval) > 0.93
    assert coverage(100, 0.02, wald_interval) < 0.88
    assert coverage(100, 0.02, wilson_interval) > 0.93


def test_a_share_of_nothing_and_of_everything_has_width_and_stays_inside():
    assert wilson_interval(0, 20).low == 0
    assert wilson_interval(0, 20).high > 0.15
    assert wilson_interval(20, 20).high == 1
    assert wilson_interval(20, 20).low < 0.85
    assert wilson_interval(0, 0) == Interval(0, 1)


@pytest.mark.parametrize("tosses", range(9))
def test_mcnemar_is_what_counting_all_coins_gives(tosses):
    for heads in range(tosses + 1):
        ways = [sum(coins) for coins in itertools.product((0, 1), repeat=tosses)]
        further = sum(abs(2 * way - tosses) > abs(2 * heads - tosses) for way in ways)
        as_far = sum(abs(2 * way - tosses) == abs(2 * heads - tosses) for way in ways)
        expected = Fraction(2 * further + as_far, 2 * len(ways)) if 2 * heads != tosses else 1
        # Counting half of both sides that are as far is half of one side, twice.
        assert mcnemar_mid_p(heads, tosses - heads) == pytest.approx(float(expected), abs=1e-15)


def test_mcnemar_and_tango_give_the_published_values_of_a_paired_table():
    # Fagerland, Lydersen, Laake, Statistics in Medicine 33 (2014) 2850: airway hyper-responsiveness, 1 and 7 of 21.
    assert round(mcnemar_mid_p(1, 7), 3) == 0.039
    found = tango_interval(1, 7, 21)
    assert (round(found.low, 3), round(found.high, 3)) == (-0.517, -0.026)


def test_mcnemar_keeps_its_level_and_never_needs_more_than_it():
    worst = 0.0
    for n, apart in itertools.product((10, 20, 40, 80), (0.1, 0.2, 0.4, 0.8)):
        many = binomial(n, apart)
        error = sum(
            many[tosses] * sum(chance for k, chance in enumerate(binomial(tosses, 0.5)) if
                               mcnemar_mid_p(k, tosses - k) <= 0.05)
            for tosses in range(n + 1)
        )  # fmt: skip
        worst = max(worst, error)
    assert 0.03 < worst < 0.055


def test_no_items_that_differ_is_not_no_difference():
    found = tango_interval(0, 0, 50)
    z = NormalDist().inv_cdf(0.975)
    assert found.high == pytest.approx(z * z / (50 + z * z))
    assert found.low == -found.high


def test_tango_is_the_other_way_round_for_the_other_order():
    one, other = tango_interval(7, 3, 40), tango_interval(3, 7, 40)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert tango_interval(40, 0, 40).high == 1


def test_tango_covers_a_true_difference():
    n, first, second = 30, 0.25, 0.05
    held = 0.0
    for b, c in itertools.product(range(n + 1), repeat=2):
        if b + c <= n:
            ways = math.comb(n, b) * math.comb(n - b, c)
            chance = ways * first**b * second**c * (1 - first - second) ** (n - b - c)
            if chance > 1e-7:
                found = tango_interval(b, c, n)
                held += chance * (found.low <= first - second <= found.high)
    assert 0.93 < held < 0.975


def test_holm_adjusts_as_in_its_paper():
    # Holm (1979), section 4's procedure by hand: 4 x 0.005, 3 x 0.01, then 2 x 0.03 holds for 0.04 too.
    assert holm([0.01, 0.04, 0.03, 0.005]) == [0.03, 0.06, 0.06, 0.02]
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]


def test_holm_over_nineteen_rows_hides_what_one_declared_primary_shows():
    p = mcnemar_mid_p(10, 1)  # 45 points of 20 items
    assert p < 0.01
    assert holm([p])[0] < 0.05
    assert holm([p] + [0.5] * 18)[0] > 0.05


@pytest.mark.parametrize(
    ("b", "c", "n", "margin"), [(0, 0, 50, 0.05), (0, 0, 60, 0.05), (5, 6, 400, 0.05), (30, 2, 400, 0.05)]
)
def test_two_one_sided_tests_and_the_90_percent_interval_say_the_same(b, c, n, margin):
    assert is_equivalent(tango_interval(b, c, n, level=0.9), margin) == (equivalence_p(b, c, n, margin) < 0.05)


def test_fifty_items_without_a_difference_do_not_show_equivalence_within_five_points():
    assert not is_equivalent(tango_interval(0, 0, 50, level=0.9), 0.05)
    assert is_equivalent(tango_interval(0, 0, 60, level=0.9), 0.05)


@pytest.mark.parametrize(("n", "unpaired", "a_fifth", "a_tenth"), [
    (100, 20, 12, 9), (164, 15, 10, 7), (500, 9, 6, 4), (1319, 5.5, 3.4, 2.4), (3000, 3.6, 2.3, 1.6),
])  # fmt: skip
def test_smallest_visible_differences_are_those_of_the_table(n, unpaired, a_fifth, a_tenth):
    within = 0.5 if n < 1000 else 0.05
    assert 100 * smallest_visible_unpaired(n) == pytest.approx(unpaired, abs=within)
    assert 100 * smallest_visible(n, 0.2) == pytest.approx(a_fifth, abs=within)
    assert 100 * smallest_visible(n, 0.1) == pytest.approx(a_tenth, abs=within)


def exact_power(n, only_first, only_second):
    """How often the mid-p of n items is below 0.05: every count of items that differ, weighted by its probability."""
    apart = only_first + only_second
    many, share, power = binomial(n, apart), only_first / apart, 0.0
    for tosses in range(n + 1):
        if many[tosses] > 1e-9:
            heads = np.array(binomial(tosses, share))
            power += many[tosses] * heads[[mcnemar_mid_p(k, tosses - k) <= 0.05 for k in range(tosses + 1)]].sum()
    return power


@pytest.mark.parametrize(("difference", "apart"), [(0.1, 0.1), (0.1, 0.2), (0.2, 0.3), (0.3, 0.3), (0.05, 0.1)])
def test_the_items_that_are_asked_for_have_the_power_that_was_promised(difference, apart):
    n = items_for(difference, apart)
    assert 0.77 < exact_power(n, (apart + difference) / 2, (apart - difference) / 2) < 0.9


def test_more_is_needed_where_clusters_or_several_questions_take_their_share():
    alone = items_for(0.1, 0.2)
    assert items_for(0.1, 0.2, design_effect=2.0) in (2 * alone - 1, 2 * alone)
    assert items_for(0.1, 0.2, alpha=0.01) > alone
    assert smallest_visible(0, 0.2) == 1.0
    # No difference can be greater than the share of items that differ.
    assert smallest_visible(20, 0.0) == smallest_visible(20, 0.05) > 0.2


@pytest.mark.parametrize("impossible", [0, -0.1, 1.1])
def test_an_impossible_difference_is_refused(impossible):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        items_for(impossible, 0.2)


def test_a_p_of_clustered_items_is_never_smaller():
    assert clustered_p(0.01, 1.0, 10_000) == pytest.approx(0.01, rel=0.01)
    assert clustered_p(0.01, 0.5, 10_000) == pytest.approx(0.01, rel=0.01)
    assert clustered_p(0.01, 2.0, 40) > 0.05
    assert clustered_p(0.01, 1.0, 4) > 0.05
    assert clustered_p(1e-9, 1.0, 1) == 1
    assert clustered_p(1.0, 1.0, 9) == pytest.approx(1)


def test_students_t_is_that_of_the_tables():
    assert [round(two_sided_t(0.95, degrees), 3) for degrees in (1, 2, 5, 30)] == [12.706, 4.303, 2.571, 2.042]
    assert t_cdf(0.0, 3) == 0.5
    assert t_cdf(-2.571, 5) == pytest.approx(0.025, abs=1e-4)


@pytest.mark.parametrize(("n", "right", "k"), [(5, 2, 2), (6, 1, 3), (4, 4, 1), (5, 0, 5), (6, 4, 3)])
def test_pass_at_k_is_what_trying_all_ways_gives(n, right, k):
    ways = list(itertools.combinations([True] * right + [False] * (n - right), k))
    assert pass_at(k, n, right) == pytest.approx(sum(any(way) for way in ways) / len(ways))


def test_pass_at_5_of_3_in_20_is_the_published_value():
    assert round(pass_at(5, 20, 3), 3) == 0.601
    with pytest.raises(ValueError, match="from 1 to the number of answers"):
        pass_at(6, 5, 1)


def test_kappa_of_cohens_example():
    # Fleiss, Cohen, Everitt (1969): three categories in 200 cases, kappa 0.429 with a standard error of 0.054.
    table = [[53, 5, 2], [11, 14, 5], [1, 6, 3]]
    pairs = [(i, j) for i in range(3) for j in range(3) for _ in range(2 * table[i][j])]
    found = cohens_kappa(*zip(*pairs, strict=True))
    assert round(found.value, 3) == 0.429
    assert (found.interval.high - found.interval.low) / (2 * 1.96) == pytest.approx(0.054, abs=0.0006)


def test_judges_who_always_say_the_same_say_nothing():
    assert cohens_kappa("aaaa", "aaaa").interval == Interval(-1, 1)
    with pytest.raises(ValueError, match="on every item"):
        cohens_kappa("ab", "a")
