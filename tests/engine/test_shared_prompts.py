"""Prompts that begin alike, and what an answer leaves for the next: read once, and nothing else changes."""

import threading

import numpy as np

from ouvert.engine import LocalEngine, Sampling

from .asking import greedy, held_runner, ids_of


def test_a_prompt_that_starts_like_the_last_answer_reuses_it(engine, runner):
    first = engine.generate([1, 2, 3], greedy(max_tokens=3))
    assert ids_of(first) == [4, 5, 6]
    second = engine.generate([1, 2, 3, 4, 5, 6, 9], greedy(max_tokens=1))
    assert ids_of(second) == [10]
    assert second.stopped.reused_tokens == 5  # 6 was chosen but never computed on
    assert runner.steps[-1] == [(2, "last")]


def test_the_same_prompt_again_computes_its_last_token(engine, runner):
    for reused in (0, 2):
        generation = engine.generate([1, 2, 3], greedy(max_tokens=2))
        assert ids_of(generation) == [4, 5]
        assert generation.stopped.reused_tokens == reused
    assert runner.steps[-2] == [(1, "last")]


def test_a_prompt_that_starts_otherwise_reuses_nothing_and_the_first_is_kept_too(engine, runner):
    ids_of(engine.generate([1, 2, 3], greedy(max_tokens=1)))
    generation = engine.generate([2, 2, 3], greedy(max_tokens=1))
    assert ids_of(generation) == [4]
    assert generation.stopped.reused_tokens == 0
    assert runner.open_sequences == 0
    again = engine.generate([1, 2, 3, 4], greedy(max_tokens=1))
    ids_of(again)
    assert again.stopped.reused_tokens == 3


def test_answers_are_the_same_with_and_without_a_kept_prefix(fake_runner, facts):
    random = np.random.default_rng(11)
    table = random.standard_normal((1000, 16)).astype(np.float32)

    def scores(ids):  # depends on every token so far
        return table[hash(tuple(ids)) % 1000]

    kept = LocalEngine(fake_runner(16, scores), 200, facts)
    for _ in range(30):
        prompt = [1, 2, 3, 4, *random.integers(0, 16, random.integers(1, 6)).tolist()]
        sampling = Sampling(seed=int(random.integers(1000)), max_tokens=5)
        fresh = LocalEngine(fake_runner(16, scores), 200, facts)
        assert ids_of(kept.generate(prompt, sampling)) == ids_of(fresh.generate(prompt, sampling))


def test_prompts_that_begin_alike_are_read_once(fake_runner, facts):
    runner = fake_runner(16)
    held = threading.Event()
    runner.before_step = held.wait
    engine = LocalEngine(runner, 4096, facts)
    start = [n % 16 for n in range(400)]
    generations = [engine.generate([*start, n], greedy(max_tokens=3)) for n in (5, 6, 7)]
    held.set()
    assert [ids_of(each) for each in generations] == [[6, 7, 8], [7, 8, 9], [8, 9, 10]]
    assert [each.stopped.reused_tokens for each in generations] == [0, 400, 400]
    assert sum(tokens for step in runner.steps for tokens, _ in step) == 401 + 1 + 1 + 3 * 2


def test_short_prompts_that_begin_alike_are_read_once_even_if_they_arrive_together(fake_runner, facts):
    runner, held = held_runner(fake_runner)
    engine = LocalEngine(runner, 64, facts)
    prompt = [n % 16 for n in range(12)]
    generations = [engine.generate(prompt, greedy(max_tokens=3)) for _ in range(4)]
    held.set()
    assert [ids_of(each) for each in generations] == [[12, 13, 14]] * 4
    assert [each.stopped.reused_tokens for each in generations] == [0, 11, 11, 11]


def test_short_prompts_that_share_only_a_few_tokens_are_read_together(fake_runner, facts):
    runner, held = held_runner(fake_runner)
    engine = LocalEngine(runner, 64, facts)
    first = engine.generate([9], greedy(max_tokens=1))
    generations = [engine.generate([1, 2, n, n, n, n, n], greedy(max_tokens=1)) for n in (5, 6)]
    held.set()
    assert [ids_of(each) for each in (first, *generations)] == [[10], [6], [7]]
    assert max(len(step) for step in runner.steps) >= 2
    assert [each.stopped.reused_tokens for each in generations] == [0, 0]


def test_where_the_one_that_reads_goes_away_one_of_those_behind_it_reads(fake_runner, facts):
    runner, held = held_runner(fake_runner)
    engine = LocalEngine(runner, 64, facts)
    busy = engine.generate([9], greedy(max_tokens=1))
    prompt = [n % 16 for n in range(12)]
    generations = [engine.generate(prompt, greedy(max_tokens=3)) for _ in range(4)]
    generations[0].cancel()
    held.set()
    assert ids_of(busy) == [10]
    assert [ids_of(each) for each in generations[1:]] == [[12, 13, 14]] * 3
    assert [each.stopped.reused_tokens for each in generations[1:]] == [0, 11, 11]


def test_prompts_that_arrive_together_wait_for_their_own_owners_only(fake_runner, facts):
    """Who waits for another to read what both start with has it read for him: his answer says so, and comes later."""
    runner = fake_runner(16)
    engine = LocalEngine(runner, 4096, facts)
    hold, held = threading.Event(), threading.Event()
    runner.before_step = lambda: (held.set(), hold.wait())
    prompt = [n % 16 for n in range(100)]
    first = engine.generate([1], greedy(max_tokens=1))
    held.wait()
    together = [engine.generate(prompt, greedy(max_tokens=1), owner=owner) for owner in ("a", "a", "b")]
    hold.set()
    ids_of(first)
    for each in together:
        ids_of(each)
    assert [each.stopped.reused_tokens for each in together] == [0, 99, 0]
    engine.close()
