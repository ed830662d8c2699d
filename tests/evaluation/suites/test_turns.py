"""The order of a suite's entries."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ouvert.evaluation.suites.turns import in_turns, wording_at

ENTRIES = [(group, f"{group}{n}") for group, size in (("a", 9), ("b", 5), ("c", 7)) for n in range(size)]


def order(seed):
    return in_turns(ENTRIES, seed, lambda entry: entry[1], lambda entry: entry[0])


@given(st.integers(0, 999), st.integers(0, 5))
def test_any_beginning_has_as_many_of_each_group_while_they_last(seed, turns):
    counts = Counter(group for group, _ in order(seed)[: 3 * turns])
    assert set(counts.values()) <= {turns}


def test_the_seed_decides_the_order_and_nothing_else_does():
    assert order(1) == in_turns(reversed(ENTRIES), 1, lambda entry: entry[1], lambda entry: entry[0])
    assert order(1) != order(2)
    assert sorted(order(1)) == sorted(ENTRIES)
    # Not Python's: another version must not ask other questions.
    assert [entry[1] for entry in order(1)[:4]] == ["a7", "b2", "c4", "a0"]


def test_every_group_meets_every_wording_also_where_their_numbers_have_a_common_factor():
    met = Counter((position % 6, wording_at(position, 3, groups=6)) for position in range(18))
    assert set(met.values()) == {1}
    assert len(met) == 18
