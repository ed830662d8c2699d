"""Kept pages on disk, through engines that come and go. The files themselves: test_page_files.py."""

import threading

import pytest

from ouvert.engine import Limits, LocalEngine, Sampling
from ouvert.engine.prefixes.disk import DiskPrefixes
from ouvert.engine.prefixes.page_files import PageFiles


class Pages:
    """A store of pages in a dictionary, which outlives engines."""

    def __init__(self):
        self.data, self.touched, self.may_read = {}, [], threading.Event()
        self.may_read.set()

    def root(self, fingerprint):
        return repr(sorted(fingerprint.items()))

    def name(self, parent, ids):
        return f"{parent}/{','.join(map(str, ids))}"

    def holds(self, name):
        return name in self.data

    def read_many(self, names):
        for name in names:
            self.may_read.wait()
            yield self.data.get(name)

    def write(self, name, data, used, place):
        self.data[name] = memoryview(data)
        return True

    def touch(self, names, used):
        self.touched += names


PROMPT = [n % 16 for n in range(150)]
GREEDY = Sampling(temperature=0, max_tokens=5)


@pytest.fixture
def pages():
    return Pages()


@pytest.fixture
def engine(fake_runner, facts, pages):
    """engine(weights="a") -> an engine over a new runner and the same pages."""

    def make(weights="a", **settings):
        runner = fake_runner(16)
        disk = DiskPrefixes(pages, lambda: {"weights": weights}, runner.page_tokens)
        return LocalEngine(runner, 4096, facts, disk=disk, **settings), runner

    return make


def answered(engine, prompt=PROMPT):
    generation = engine.generate(prompt, GREEDY)
    return [token.id for token in generation], generation.stopped.reused_tokens


def test_a_prompt_seen_before_a_restart_is_not_computed_again(engine, pages):
    first, runner = engine()
    assert answered(first) == ([6, 7, 8, 9, 10], 0)
    first.close()
    second, runner = engine()
    assert answered(second) == ([6, 7, 8, 9, 10], 149)
    assert runner.steps[0] == [(1, "last")]
    assert pages.touched
    second.close()


def test_another_end_reuses_the_beginning(engine):
    first, _ = engine()
    answered(first)
    first.close()
    second, _ = engine()
    other = [*PROMPT[:140], 3, 3, 3]
    assert answered(second, other) == ([4, 5, 6, 7, 8], 140)
    second.close()


def test_other_numbers_reuse_nothing(engine):
    first, _ = engine()
    answered(first)
    first.close()
    second, _ = engine(weights="b")
    assert answered(second) == ([6, 7, 8, 9, 10], 0)
    second.close()


def test_what_went_missing_is_computed(engine, pages):
    first, _ = engine()
    answered(first)
    first.close()
    del pages.data[sorted(pages.data, key=len)[10]]
    second, _ = engine()
    assert answered(second) == ([6, 7, 8, 9, 10], 40)
    second.close()


def test_a_page_that_turns_out_damaged_when_it_is_read_is_computed(engine, pages):
    first, _ = engine()
    answered(first)
    first.close()
    pages.data[sorted(pages.data, key=len)[10]] = None
    second, _ = engine()
    assert answered(second) == ([6, 7, 8, 9, 10], 40)
    second.close()


def test_short_prompts_are_not_written(engine, pages):
    first, _ = engine()
    answered(first, PROMPT[:50])
    first.close()
    assert not pages.data


def test_others_are_answered_while_pages_come_from_the_disk(engine, pages):
    first, _ = engine()
    answered(first)
    first.close()
    second, _ = engine()
    pages.may_read.clear()
    waiting = second.generate(PROMPT, GREEDY)
    assert answered(second, [1]) == ([2, 3, 4, 5, 6], 0)
    pages.may_read.set()
    assert [token.id for token in waiting] == [6, 7, 8, 9, 10]
    assert waiting.stopped.reused_tokens == 149
    second.close()


def test_cancelled_while_pages_come_from_the_disk(engine, pages):
    first, _ = engine()
    answered(first)
    first.close()
    second, runner = engine()
    pages.may_read.clear()
    waiting = second.generate(PROMPT, GREEDY)
    waiting.cancel()
    assert waiting.stopped.reason == "cancelled"
    pages.may_read.set()
    assert answered(second, [1]) == ([2, 3, 4, 5, 6], 0)
    second.close()
    assert not runner.blocks


def test_where_memory_is_short_what_does_not_fit_is_computed(engine, fake_runner):
    first, _ = engine()
    answered(first)
    first.close()
    second, runner = engine(limits=Limits(cache_bytes=40 * 40))
    runner.cache_limit = 40 * 40
    assert answered(second)[0] == [6, 7, 8, 9, 10]
    second.close()
    assert not runner.blocks


def test_where_the_disk_has_room_for_few_pages_they_are_the_first(engine, fake_runner, facts, tmp_path):
    """Pages are found from the beginning on: ends alone would take room and be of no use."""

    def over(files):
        runner = fake_runner(16)
        return LocalEngine(runner, 4096, facts, disk=DiskPrefixes(files, dict, runner.page_tokens))

    everything = PageFiles(tmp_path / "all", quota=10**9)
    first = over(everything)
    answered(first)
    first.close()
    few = PageFiles(tmp_path / "few", quota=everything.usage().bytes // 2)
    for prompt in (PROMPT, PROMPT[:140] + [3] * 10):
        first = over(few)
        answered(first, prompt)
        first.close()
    held = few.usage().files
    second = over(few)
    assert answered(second) == ([6, 7, 8, 9, 10], held * fake_runner(16).page_tokens)
    second.close()
    assert held > 6


def test_what_one_owner_left_is_never_used_for_another(engine):
    """Neither in memory nor on disk: the count of reused tokens would be an oracle of another's prompt."""

    def reused(engine, owner):
        generation = engine.generate(PROMPT, GREEDY, owner=owner)
        assert [token.id for token in generation] == [6, 7, 8, 9, 10]
        return generation.stopped.reused_tokens

    first, _ = engine()
    assert [reused(first, owner) for owner in ("", "a", "b")] == [0, 0, 0]
    assert [reused(first, owner) for owner in ("a", "", "b")] == [149, 149, 149]
    first.close()
    second, _ = engine()
    assert [reused(second, owner) for owner in ("c", "b", "", "a")] == [0, 149, 149, 149]
    second.close()
