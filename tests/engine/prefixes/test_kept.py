"""Pages on their way from the disk into memory: each goes after the one before it, or not at all."""

import pytest

from ouvert.engine import Limits
from ouvert.engine.prefixes.disk import WORTH_FETCHING, DiskPage
from ouvert.engine.prefixes.kept import KeptPrefixes
from ouvert.engine.prefixes.scope import Scope

SCOPE = Scope("", "base")
PAGES = 8


class Disk:
    """Has all pages of any prompt, and hands them over when the test says so."""

    def __init__(self, page_tokens):
        self.page_tokens, self.hand = page_tokens, None

    def beyond(self, tokens, nodes, scope):
        starts = range(len(nodes) * self.page_tokens, len(tokens), self.page_tokens)
        return [DiskPage(str(start), tuple(tokens[start : start + self.page_tokens])) for start in starts]

    def fetch(self, filed, each):
        self.filed, self.hand = filed, each


@pytest.fixture
def runner(fake_runner):
    return fake_runner(16)


@pytest.fixture
def tasks():
    return []


@pytest.fixture
def kept(runner, tasks):
    """Its tasks are run by the test."""

    def post(task):
        tasks.append(task)
        return True

    return KeptPrefixes(runner, Disk(runner.page_tokens), Limits(), post)


@pytest.fixture
def prompt(runner):
    tokens = list(range(PAGES * runner.page_tokens))
    assert len(tokens) >= WORTH_FETCHING
    return tokens


def page_bytes(runner, filed):
    sequence = runner.new_sequence(100)
    for token in filed.ids:
        sequence.append(token)
    data = sequence.page(0).read()
    sequence.close()
    return memoryview(data)


def hand_over(kept, runner, tasks, numbers):
    """These pages are read, and then placed. Whether the reader was told to go on, for each."""
    filed = kept.disk.filed
    told = [kept.disk.hand(filed[n], page_bytes(runner, filed[n])) for n in numbers]
    while tasks:
        tasks.pop(0)()
    return told


def test_pages_that_come_one_by_one_continue_each_other(kept, runner, tasks, prompt):
    fetch = kept.fetch(prompt, kept.tree.match(prompt, SCOPE), SCOPE)
    hand_over(kept, runner, tasks, range(PAGES - 1))
    assert not fetch.over
    hand_over(kept, runner, tasks, [PAGES - 1])
    assert fetch.over
    assert kept.tree.match(prompt, SCOPE).tokens == len(prompt)
    assert kept.tree.bytes_unused == kept.tree.bytes == PAGES * runner.page_bytes


def test_after_a_page_without_room_no_other_is_placed(kept, runner, tasks, prompt):
    """They were read before it was known: placed where it should be, they would be taken for its tokens."""
    fetch = kept.fetch(prompt, kept.tree.match(prompt, SCOPE), SCOPE)
    hand_over(kept, runner, tasks, [0])
    take, times = runner.page_from, []

    def no_room_once(data):
        times.append(data)
        if len(times) == 1:
            raise MemoryError("once")
        return take(data)

    runner.page_from = no_room_once
    hand_over(kept, runner, tasks, [1, 2, 3])
    assert fetch.over
    assert len(times) == 1
    assert [node.ids for node in kept.tree] == [tuple(prompt[: runner.page_tokens])]
    assert kept.tree.bytes_unused == kept.tree.bytes
    assert hand_over(kept, runner, tasks, [4]) == [False]


def test_a_fetch_that_nobody_wants_places_nothing_more(kept, runner, tasks, prompt):
    fetch = kept.fetch(prompt, kept.tree.match(prompt, SCOPE), SCOPE)
    hand_over(kept, runner, tasks, [0])
    fetch.wanted = False
    hand_over(kept, runner, tasks, [1])
    assert fetch.over
    assert len(kept.tree) == 1
