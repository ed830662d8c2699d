"""Answers that end before their end: cancelled, out of time, refused, closed."""

import gc
import threading
import time
from types import SimpleNamespace

import pytest

from ouvert.engine import EngineBusyError, EngineError, Limits, LocalEngine
from ouvert.engine.steps import STEP_TOKENS

from .asking import GREEDY, eventually, greedy, ids_of


def test_an_answer_that_nobody_holds_is_cancelled(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 1_000_000, facts)
    next(iter(engine.generate([1], GREEDY)))
    gc.collect()
    eventually(lambda: engine.load.running == 0)
    assert runner.open_sequences == 0


def test_an_engine_that_nobody_holds_is_closed(fake_runner, facts):
    runner = fake_runner(16)
    ids_of(LocalEngine(runner, 100, facts).generate([1], greedy(max_tokens=3)))
    gc.collect()
    eventually(lambda: runner.closed)


@pytest.mark.parametrize("fault", [None, RuntimeError("the step failed")])
def test_reading_ends_where_the_answer_is_cancelled_or_fails(fake_runner, facts, fault):
    runner = fake_runner(16)
    begun = threading.Event()

    def before_step():
        begun.wait()
        generation.cancel()
        if fault is not None:
            raise fault

    runner.before_step = before_step
    generation = LocalEngine(runner, 4096, facts).generate([1] * (3 * STEP_TOKENS), GREEDY)
    begun.set()
    list(generation.reading())  # comes to an end
    assert ids_of(generation) == []
    assert generation.stopped.reason == "cancelled"


def test_cancelling_between_tokens_ends_at_once_and_keeps_the_prefix(engine, runner):
    generation = engine.generate([1, 2], GREEDY)
    tokens = iter(generation)
    assert [next(tokens).id, next(tokens).id] == [3, 4]
    generation.cancel()
    assert generation.stopped.reason == "cancelled"
    assert generation.stopped.output_tokens == 2
    assert list(tokens) == []
    again = engine.generate([1, 2, 3, 4, 9], greedy(max_tokens=1))
    ids_of(again)
    assert again.stopped.reused_tokens == 4


def test_cancelling_before_the_first_token(engine, runner):
    generation = engine.generate([1], GREEDY)
    generation.cancel()
    assert ids_of(generation) == []
    assert generation.stopped.output_tokens == 0
    assert runner.open_sequences == 0


def test_an_answer_out_of_time_ends_as_it_is(fake_runner, facts, monkeypatch):
    runner = fake_runner(16)
    an_hour_later = SimpleNamespace(perf_counter=lambda: time.perf_counter() + 3600 * (len(runner.steps) > 5))
    monkeypatch.setattr("ouvert.engine.queues.time", an_hour_later)
    engine = LocalEngine(runner, 1_000_000, facts)
    generation = engine.generate([1], GREEDY, timeout=600)
    tokens = ids_of(generation)
    assert generation.stopped.reason == "timeout"
    assert 0 < len(tokens) == generation.stopped.output_tokens < 21
    assert runner.open_sequences == 0


def test_too_many_are_refused_and_those_before_are_served(fake_runner, facts):
    runner = fake_runner(16)
    reading, go_on = threading.Event(), threading.Event()
    runner.before_step = lambda: (reading.set(), go_on.wait(60))
    engine = LocalEngine(runner, 64, facts, limits=Limits(most_running=1, most_waiting=2))
    first = engine.generate([1], greedy(max_tokens=2))
    assert reading.wait(30)
    second = engine.generate([3], greedy(max_tokens=2))
    with pytest.raises(EngineBusyError, match="2 wait already"):
        engine.generate([5], GREEDY)
    go_on.set()
    assert [ids_of(first), ids_of(second)] == [[2, 3], [4, 5]]


def test_cancelling_within_a_long_prompt_ends_after_the_chunk(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 4096, facts)
    made = threading.Event()
    runner.before_step = lambda: made.wait() and len(runner.steps) == 1 and generation.cancel()  # in the second chunk
    generation = engine.generate([1] * (4 * STEP_TOKENS), GREEDY)
    made.set()
    assert ids_of(generation) == []
    assert generation.stopped.reason == "cancelled"
    assert len(runner.steps) == 2


def test_cancelling_from_another_thread_ends_an_endless_answer(fake_runner, facts):
    engine = LocalEngine(fake_runner(16), 1_000_000, facts)
    generation = engine.generate([1], GREEDY)
    first = next(iter(generation)).id
    canceller = threading.Thread(target=generation.cancel)
    canceller.start()
    tokens = [first, *ids_of(generation)]
    canceller.join()
    assert generation.stopped.reason == "cancelled"
    assert len(tokens) == generation.stopped.output_tokens < 999_999


def test_cancelling_after_the_end_changes_nothing(engine):
    generation = engine.generate([1], greedy(max_tokens=1))
    ids_of(generation)
    generation.cancel()
    assert generation.stopped.reason == "length"


def test_a_closed_engine_says_so(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 1_000_000, facts)
    tokens = iter(engine.generate([1], GREEDY))
    next(tokens)
    engine.close()
    engine.close()
    assert runner.closed
    with pytest.raises(EngineError, match="closed"):
        list(tokens)
    with pytest.raises(EngineError, match="closed"):
        engine.generate([1], GREEDY)
    with pytest.raises(EngineError, match="closed"):
        engine.logits([1])
    assert runner.open_sequences == 0


def test_an_engine_that_nobody_holds_ends_and_no_thread_waits_for_it(fake_runner, facts):
    """Garbage is found in any thread, within another engine's step too: there a wait for its thread would be for ever,
    where that one waits for this."""
    runner = fake_runner(16)
    reading, go_on = threading.Event(), threading.Event()
    runner.before_step = lambda: (reading.set(), go_on.wait(60))
    engine = LocalEngine(runner, 64, facts)
    generation = engine.generate([1], GREEDY)
    assert reading.wait(30)
    thread = engine._loop.mailbox.thread
    del engine, generation
    gc.collect()
    assert thread.is_alive()  # whoever had waited for it had found it at its end
    go_on.set()
    thread.join(30)
    assert not thread.is_alive()
    assert runner.closed
