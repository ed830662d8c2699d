"""Ratings by people's votes, simulated with a seed."""

import numpy as np
import pytest

from ouvert.evaluation.statistics import MINIMUM_VOTES, Vote, is_connected, ratings

STRENGTH = {"a": 150.0, "b": 50.0, "c": -50.0, "d": -150.0}


def simulated(count, seed=0, prompts=60, voters=1, strength=STRENGTH):
    random = np.random.default_rng(seed)
    votes = []
    for number in range(count):
        first, second = (str(name) for name in random.choice(list(strength), 2, replace=False))
        odds = 10 ** ((strength[first] - strength[second]) / 400)
        chances = np.array([odds, 1, 0.5 * odds**0.5])
        score = random.choice([1.0, 0.0, 0.5], p=chances / chances.sum())
        votes.append(Vote(prompt=str(number % prompts), first=first, second=second, score=float(score),
                          voter=str(number % voters)))  # fmt: skip
    return votes


def test_strengths_are_found_with_intervals_that_hold_them():
    found = ratings(simulated(2000))
    assert [each.contestant for each in found] == ["a", "b", "c", "d"]
    assert sum(each.rating for each in found) == pytest.approx(0, abs=1e-6)
    for each in found:
        assert each.interval.low < STRENGTH[each.contestant] < each.interval.high
        assert 20 < each.interval.high - each.interval.low < 120
    assert sum(each.votes for each in found) == 4000


def test_two_contestants_have_the_closed_form():
    # Without ties the likeliest gap is the logarithm of the odds.
    votes = [Vote(prompt=str(i), first="a", second="b", score=float(i % 4 != 0)) for i in range(80)]
    best, worst = ratings(votes)
    assert best.rating - worst.rating == pytest.approx(400 * np.log10(3), abs=4)


def test_ties_bring_contestants_nearer():
    votes = [Vote(prompt=str(i), first="a", second="b", score=float(i % 4 != 0)) for i in range(80)]
    tied = votes + [Vote(prompt=str(i), first="b", second="a", score=0.5) for i in range(80)]
    gap = ratings(votes)[0].rating
    assert 0 < ratings(tied)[0].rating <= gap + 1e-6


def test_one_who_wins_every_vote_has_a_finite_rating():
    votes = [Vote(prompt=str(i), first="a", second="b", score=1.0) for i in range(40)]
    best, worst = ratings(votes)
    assert best.contestant == "a"
    assert 200 < best.rating < 2000
    assert np.isfinite(best.interval.high)
    assert worst.rating == pytest.approx(-best.rating)


def test_which_side_stood_first_decides_nothing():
    votes = simulated(300)
    swapped = [Vote(prompt=v.prompt, first=v.second, second=v.first, score=1 - v.score, voter=v.voter) for v in votes]
    assert [(each.contestant, round(each.rating, 6)) for each in ratings(votes)] == [
        (each.contestant, round(each.rating, 6)) for each in ratings(swapped)
    ]


def test_few_prompts_make_wide_intervals():
    one_prompt_decides = [Vote(prompt=str(i % 3), first="a", second="b", score=float(i % 3 != 0)) for i in range(240)]
    spread = [Vote(prompt=str(i), first="a", second="b", score=float(i % 3 != 0)) for i in range(240)]
    wide, narrow = ratings(one_prompt_decides)[0].interval, ratings(spread)[0].interval
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_voters_who_disagree_make_wide_intervals():
    def split(voters):
        return [
            Vote(prompt=str(i), first="a", second="b", score=float(i % 4 != 0), voter=str(i % voters))
            for i in range(240)
        ]

    wide, narrow = ratings(split(4))[0].interval, ratings(split(1))[0].interval
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_no_rank_without_enough_votes_or_without_a_path_between_all():
    assert ratings([]) == ()
    few = [Vote(prompt=str(i), first="a", second="b", score=1.0) for i in range(MINIMUM_VOTES - 1)]
    assert ratings(few) == ()
    islands = [Vote(prompt=str(i), first=x, second=y, score=0.5) for i in range(40) for x, y in ("ab", "cd")]
    assert not is_connected(islands)
    assert ratings(islands) == ()
    assert is_connected([*islands, Vote(prompt="0", first="b", second="c", score=1.0)])


def test_the_same_votes_have_the_same_ratings():
    assert ratings(simulated(200)) == ratings(simulated(200))
