"""What the next step does, decided from numbers alone."""

from hypothesis import given
from hypothesis import strategies as st

from ouvert.engine.schedule import Plan, Running, Waiting, plan_step


def pages(tokens):
    """Ten bytes for every four tokens begun."""
    return -(-tokens // 4) * 10


def plan(running=(), waiting=(), free=1000, budget=64, most_running=8):
    return plan_step(running, waiting, free=free, budget=budget, bytes_for=pages, most_running=most_running)


def test_answers_in_progress_go_before_new_prompts():
    found = plan([Running(1, cached=5)], [Waiting(2, 0, tokens=100)], budget=33)
    assert found == Plan(decode=(1,), read=((2, 32),))


def test_an_answer_that_nobody_takes_is_left_alone():
    assert plan([Running(1, 5, stalled=True), Running(2, 5)]) == Plan(decode=(2,))


def test_the_youngest_makes_room_when_caches_are_full():
    full = [Running(1, cached=8), Running(2, cached=8), Running(3, cached=8)]
    assert plan(full, [Waiting(4, 0, tokens=4)], free=10) == Plan(decode=(1, 2), paused=(3,))


def test_a_prompt_that_was_begun_makes_room_before_answers_do():
    found = plan([Running(1, cached=8), Running(2, 9)], [Waiting(3, 8, tokens=20, begun=True)], free=0)
    assert found == Plan(decode=(1, 2), paused=(3,))


def test_an_answer_that_nobody_takes_makes_room_before_one_that_is_read():
    found = plan([Running(1, cached=8), Running(2, 8, stalled=True), Running(3, 9)], free=0)
    assert found == Plan(decode=(1, 3), paused=(2,))


def test_the_oldest_goes_on_even_where_nothing_seems_free():
    assert plan([Running(1, cached=8)], free=0) == Plan(decode=(1,))


def test_a_prompt_is_begun_when_all_of_it_fits():
    waiting = [Waiting(2, 0, tokens=16)]
    assert plan([Running(1, cached=5)], waiting, free=40) == Plan(decode=(1,))  # and its first answer token
    assert plan([Running(1, cached=5)], waiting, free=50) == Plan(decode=(1,), read=((2, 16),))


def test_prompts_keep_their_order_even_when_a_later_one_would_fit():
    assert plan([Running(1, 5)], [Waiting(2, 0, tokens=40), Waiting(3, 0, tokens=1)], free=20) == Plan(decode=(1,))


def test_a_prompt_that_another_one_reads_for_does_not_hold_up_those_behind_it():
    waiting = [Waiting(1, 0, tokens=9), Waiting(2, 0, tokens=9, behind=True), Waiting(3, 0, tokens=9)]
    assert plan([], waiting) == Plan(read=((1, 9), (3, 9)))


def test_alone_a_prompt_is_read_and_what_nobody_takes_makes_room_for_it():
    assert plan([Running(1, 8, stalled=True)], [Waiting(2, 0, tokens=8)], free=0) == Plan(paused=(1,))
    assert plan([], [Waiting(2, 0, tokens=8)], free=0) == Plan(read=((2, 8),))


def test_answers_that_nobody_takes_leave_their_places_to_others():
    assert plan([Running(1, 1, stalled=True)], [Waiting(2, 0, tokens=2)], most_running=1) == Plan(read=((2, 2),))


def test_no_more_answers_than_there_are_places():
    waiting = [Waiting(n, 0, tokens=2) for n in range(3, 9)]
    assert plan([Running(1, 1), Running(2, 1)], waiting, most_running=4) == Plan(decode=(1, 2), read=((3, 2), (4, 2)))


running = st.builds(Running, st.integers(0, 10**6), st.integers(1, 40), st.booleans())
waiting = st.builds(
    lambda number, cached, more, begun, behind: Waiting(number, cached if begun else 0, cached + more, begun, behind),
    st.integers(0, 10**6), st.integers(0, 40), st.integers(1, 40), st.booleans(), st.booleans(),
)  # fmt: skip


@given(
    st.lists(st.one_of(running, waiting), max_size=12, unique_by=lambda each: each.id),
    st.integers(-50, 400),
    st.integers(1, 64),
    st.integers(1, 12),
)
def test_whatever_comes_a_plan_is_sound(everyone, free, budget, most_running):
    answers = sorted((each for each in everyone if isinstance(each, Running)), key=lambda each: each.id)
    prompts = [each for each in everyone if isinstance(each, Waiting)]
    found = plan(answers, prompts, free, budget, most_running)
    reads = dict(found.read)
    assert len({*found.decode, *reads, *found.paused}) == len(found.decode) + len(reads) + len(found.paused)
    assert len(found.decode) + sum(reads.values()) <= budget
    assert not (found.paused and reads)
    for each in prompts:
        assert 0 < reads.get(each.id, 1) <= each.tokens - each.cached
        assert not (each.behind and each.id in reads)
        assert each.begun or each.id not in found.paused
    assert not any(each.stalled and each.id in found.decode for each in answers)
    movable = [each for each in answers if not each.stalled] or [each for each in prompts if not each.behind]
    if movable:  # nothing starves: whoever is first gets on, or the others make room for it
        assert found.decode or reads or found.paused
