"""Where prompts go: alike ones together, evenly, and elsewhere only where they must."""

from collections import Counter

import numpy as np

from ouvert.engine.pool.placing import BEGINNING, MemberState, placed, ranked

MEMBERS = ["a", "b", "c", "d"]
IDLE = dict.fromkeys(MEMBERS, MemberState(open=True, load=0))


def prompts(count):
    random = np.random.default_rng(3)
    return [random.integers(0, 50_000, 40).tolist() for _ in range(count)]


def test_prompts_that_begin_alike_go_to_the_same_member():
    beginning = list(range(BEGINNING))
    assert ranked(MEMBERS, [*beginning, 1, 2], "me") == ranked(MEMBERS, [*beginning, 3], "me")
    assert len({ranked(MEMBERS, [*beginning[:-1], n], "me")[0] for n in range(50)}) == 4


def test_every_member_gets_its_share():
    counts = Counter(ranked(MEMBERS, ids, "me")[0] for ids in prompts(4000))
    assert all(850 < counts[member] < 1150 for member in MEMBERS)


def test_two_owners_prompts_are_placed_each_by_itself():
    places = [(ranked(MEMBERS, ids, "me")[0], ranked(MEMBERS, ids, "you")[0]) for ids in prompts(400)]
    assert 60 < sum(mine == yours for mine, yours in places) < 140


def test_a_member_that_goes_moves_only_its_own_prompts():
    for ids in prompts(200):
        whole = ranked(MEMBERS, ids, "me")
        assert ranked([member for member in MEMBERS if member != "b"], ids, "me") == [
            member for member in whole if member != "b"
        ]


def test_the_order_in_which_members_are_named_changes_nothing():
    for ids in prompts(20):
        assert ranked(MEMBERS, ids, "me") == ranked(MEMBERS[::-1], ids, "me")


def test_the_first_that_may_be_asked_answers():
    assert placed(MEMBERS, IDLE, overflow=2) == "a"
    assert placed(MEMBERS, IDLE | {"a": MemberState(False, 0)}, overflow=2) == "b"
    assert placed(MEMBERS, IDLE, overflow=2, tried=frozenset("ab")) == "c"
    assert placed(MEMBERS, dict.fromkeys(MEMBERS, MemberState(False, 0)), overflow=2) is None
    assert placed([], {}, overflow=2) is None


def test_the_second_answers_where_many_more_wait_for_the_first():
    def chosen(first, second):
        return placed(MEMBERS, IDLE | {"a": MemberState(True, first), "b": MemberState(True, second)}, overflow=2)

    assert (chosen(2, 0), chosen(3, 0), chosen(7, 5), chosen(8, 5)) == ("a", "b", "a", "b")


def test_an_answer_goes_on_where_its_tokens_are_the_same():
    states = {
        "a": MemberState(True, 0, "new"),
        "b": MemberState(True, 9, "old"),
        "c": MemberState(False, 0, "old"),
        "d": MemberState(True, 0, "new"),
    }
    assert placed(MEMBERS, states, overflow=2, identity="old") == "b"
    assert placed(MEMBERS, states, overflow=2, identity="old", tried=frozenset("b")) == "a"
    assert placed(MEMBERS, states, overflow=2) == "a"
