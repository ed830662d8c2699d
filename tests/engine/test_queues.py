"""The order of requests, and who waits for what another reads."""

import time

import pytest

from ouvert.engine import Sampling, Variant
from ouvert.engine.prefixes.scope import Scope
from ouvert.engine.queues import Queues
from ouvert.engine.request import Request
from ouvert.engine.sampler import Sampler

PAGE = 4
START = list(range(12))


@pytest.fixture
def queues():
    """Of an engine that keeps nothing."""
    return Queues(PAGE, lambda request: 0)


@pytest.fixture
def request_of():
    """request_of(tokens, variant="base", owner="") -> the next request."""
    made = []

    def make(tokens, variant="base", owner="", deadline=None):
        made.append(
            Request(
                id=len(made),
                tokens=[*tokens, 99],
                prompt_tokens=len(tokens) + 1,
                sampling=Sampling(),
                sampler=Sampler(Sampling(seed=1), [], 100),
                constraint_state=None,
                stop_ids=(),
                most_tokens=10,
                deadline=deadline,
                variant=Variant(),
                scope=Scope(owner, variant),
            )
        )
        return made[-1]

    return make


def added(queues, *requests):
    for request in requests:
        queues.add(request)
    return [request.behind for request in requests]


def test_who_begins_as_one_that_waits_is_behind_it(queues, request_of):
    first, second = request_of(START), request_of(START)
    assert added(queues, first, second) == [None, first]
    assert [queues.is_behind(each) for each in (first, second)] == [False, True]
    queues.run(first)
    assert not queues.is_behind(second)


@pytest.mark.parametrize("other", [{"variant": "sha256:1"}, {"owner": "another"}])
def test_nobody_is_behind_one_of_another_scope(queues, request_of, other):
    assert added(queues, request_of(START), request_of(START, **other)) == [None, None]


def test_a_few_tokens_alike_are_not_worth_waiting_for(queues, request_of):
    assert added(queues, request_of(START), request_of([*START[:3], *[7] * 9])) == [None, None]


def test_what_is_kept_already_need_not_be_waited_for(request_of):
    queues = Queues(PAGE, lambda request: len(START))
    assert added(queues, request_of(START), request_of(START)) == [None, None]


def test_where_the_one_that_reads_leaves_the_next_reads_and_the_others_are_behind_it(queues, request_of):
    first, second, third = (request_of(START) for _ in range(3))
    added(queues, first, second, third)
    queues.remove(first)
    assert (second.behind, third.behind) == (None, second)


def test_who_pauses_waits_again_in_its_old_place(queues, request_of):
    requests = [request_of([n] * 12) for n in range(4)]
    added(queues, *requests)
    for each in requests[:2]:
        queues.run(each)
    queues.wait_again(requests[1])
    queues.wait_again(requests[0])
    assert queues.waiting == requests
    assert queues.running == []
    assert queues.find(2) is requests[2]


def test_cancelled_and_late_requests_are_told_apart(queues, request_of):
    now = time.perf_counter()
    cancelled = request_of([1], deadline=now - 1)
    late, in_time = request_of([2], deadline=now - 1), request_of([3], deadline=now + 3600)
    added(queues, cancelled, late, in_time)
    cancelled.cancelled.set()
    assert queues.ended_from_outside() == [(cancelled, "cancelled"), (late, "timeout")]
    for each in (cancelled, late):
        queues.remove(each)
    assert 0 < queues.seconds_to_deadline <= 3600
    queues.remove(in_time)
    assert queues.seconds_to_deadline is None
