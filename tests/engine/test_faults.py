"""What fails in a step, a sampler, a constraint or the engine: who is told, and who goes on."""

import threading

import numpy as np
import pytest

from ouvert.engine import (
    EngineBusyError,
    EngineError,
    EngineFailedError,
    EngineFaultError,
    LocalEngine,
    Sampling,
)

from .asking import GREEDY, counting, eventually, greedy, ids_of


@pytest.mark.parametrize(
    ("problem", "raised"), [(ValueError("broken"), EngineFaultError), (MemoryError("full"), EngineError)]
)
def test_an_error_in_a_step_frees_the_sequence_and_the_next_answer_is_whole(engine, runner, problem, raised):
    ids_of(engine.generate([1, 2, 3], greedy(max_tokens=1)))

    def fail():
        raise problem

    runner.before_step = fail
    with pytest.raises(raised, match=str(problem)):
        ids_of(engine.generate([1, 2, 3, 4], GREEDY))
    assert runner.open_sequences == 0
    runner.before_step = lambda: None
    generation = engine.generate([1, 2, 3], greedy(max_tokens=1))
    assert ids_of(generation) == [4]


def test_one_that_fails_is_not_the_failure_of_the_others(fake_runner, facts):
    def scores(ids):
        if ids[0] == 7 and len(ids) > 3:
            raise ValueError("seven")
        return counting(16)(ids)

    engine = LocalEngine(fake_runner(16, scores), 64, facts)
    generations = [engine.generate([n], greedy(max_tokens=6)) for n in (1, 7, 3)]
    assert ids_of(generations[0]) == [2, 3, 4, 5, 6, 7]
    with pytest.raises(EngineFaultError, match="seven"):
        ids_of(generations[1])
    assert ids_of(generations[2]) == [4, 5, 6, 7, 8, 9]


def test_out_of_memory_in_one_request_is_not_the_failure_of_the_others(fake_runner, facts):
    def scores(ids):
        if ids[0] == 7 and len(ids) > 3:
            raise MemoryError("no room for seven")
        return counting(16)(ids)

    runner = fake_runner(16, scores)
    engine = LocalEngine(runner, 64, facts)
    generations = [engine.generate([n], greedy(max_tokens=6)) for n in (1, 7, 3)]
    assert ids_of(generations[0]) == [2, 3, 4, 5, 6, 7]
    with pytest.raises(EngineError, match=r"no memory for the caches of 4 tokens .*no room for seven"):
        ids_of(generations[1])
    assert ids_of(generations[2]) == [4, 5, 6, 7, 8, 9]
    assert ids_of(engine.generate([5], greedy(max_tokens=1))) == [6]
    assert runner.open_sequences == 0


def test_a_row_of_broken_numbers_names_the_layer_and_harms_no_other(fake_runner, facts):
    def scores(ids):
        return np.full(16, np.nan) if ids[:2] == [7, 8] else counting(16)(ids)

    engine = LocalEngine(fake_runner(16, scores), 64, facts, locate=lambda ids: f"layers.3.out after {ids}")
    good, bad = engine.generate([1], greedy(max_tokens=4)), engine.generate([7], greedy(max_tokens=4))
    assert next(iter(bad)).id == 8
    with pytest.raises(EngineError, match=r"NaN.*layers\.3\.out after \[7, 8\]"):
        next(iter(bad))
    assert ids_of(good) == [2, 3, 4, 5]


def test_broken_logits_are_an_error_in_the_middle_of_an_answer(fake_runner, facts):
    def scores(ids):
        return np.full(16, np.nan if len(ids) > 2 else 1.0)

    generation = LocalEngine(fake_runner(16, scores), 64, facts).generate([1], GREEDY)
    tokens = iter(generation)
    assert [next(tokens).id, next(tokens).id] == [0, 0]
    with pytest.raises(EngineError, match="NaN"):
        next(tokens)


class Panic(BaseException):
    """As pyo3 hands on a panic: no Exception."""


class GivesUp:
    """A constraint that lets everything through until its `what` fails at the third token."""

    accepting = finished = False

    def __init__(self, what, problem):
        self.what, self.problem, self.taken = what, problem, 0

    def begin(self):
        return GivesUp(self.what, self.problem)

    def allowed(self):
        if self.what == "allowed" and self.taken == 2:
            raise self.problem

    def advance(self, token):
        self.taken += 1
        if self.what == "advance" and self.taken == 3:
            raise self.problem


@pytest.mark.parametrize(
    "problem", [EngineError("too ambiguous"), RuntimeError("a bug of its own"), Panic("as Rust does")]
)
@pytest.mark.parametrize("what", ["allowed", "advance"])
def test_a_constraint_that_gives_up_ends_its_own_answer_and_no_other(fake_runner, facts, what, problem):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 64, facts)
    together = threading.Barrier(2)

    def wait_once():
        runner.before_step = lambda: None
        together.wait(10)  # until all three are handed in: from then on they share every step

    runner.before_step = wait_once
    others = [engine.generate([1], greedy(max_tokens=6))]
    failing = engine.generate([1, 2], greedy(max_tokens=6, constraint=GivesUp(what, problem)))
    others.append(engine.generate([1, 2, 3], greedy(max_tokens=6)))
    together.wait(10)
    found = []
    with pytest.raises(EngineError, match=str(problem)):
        found.extend(token.id for token in failing)
    assert found == [3, 4]
    assert [ids_of(each) for each in others] == [[2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 8, 9]]
    assert ids_of(engine.generate([7], greedy(max_tokens=2))) == [8, 9]  # and it goes on
    assert runner.open_sequences == 0


def test_a_sampler_that_fails_ends_its_own_answer_and_the_others_choose_what_they_would_have(fake_runner, facts):
    alone = ids_of(LocalEngine(fake_runner(16), 64, facts).generate([1], Sampling(seed=5, max_tokens=8)))
    runner = fake_runner(16)
    engine = LocalEngine(runner, 64, facts)
    together = threading.Barrier(2)

    def wait_once():
        runner.before_step = lambda: None
        together.wait(10)

    runner.before_step = wait_once
    good = engine.generate([1], Sampling(seed=5, max_tokens=8))
    bad = engine.generate([2], greedy(max_tokens=8))
    bad._request.sampler._filters = (0, 2**63, -1)
    together.wait(10)
    with pytest.raises(EngineFaultError, match="choosing a token"):
        ids_of(bad)
    assert ids_of(good) == alone


def test_an_engine_that_fails_says_so_to_everybody_and_gives_its_memory_back(fake_runner, facts, monkeypatch):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 64, facts)
    assert engine.failure is None

    def fail(runner):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(type(runner), "cache_bytes_in_use", property(fail))
    with pytest.raises(EngineFailedError, match="Too many open files"):
        ids_of(engine.generate([1], GREEDY))
    with pytest.raises(EngineFailedError, match="loaded again"):
        engine.generate([1], GREEDY)
    with pytest.raises(EngineFailedError):
        engine.logits([1])
    eventually(lambda: runner.closed)
    assert engine.failure == "OSError: [Errno 24] Too many open files"
    assert runner.closed
    assert runner.open_sequences == 0
    engine.close()


def test_no_thread_for_the_engine_is_said_and_the_next_request_has_one(fake_runner, facts, monkeypatch):
    engine = LocalEngine(fake_runner(16), 64, facts)
    with monkeypatch.context() as patched:

        def no_thread(thread):
            raise RuntimeError("can't start new thread")

        patched.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(EngineBusyError, match="no thread"):
            engine.generate([1], GREEDY)
    assert ids_of(engine.generate([1], greedy(max_tokens=2))) == [2, 3]


def test_what_cannot_be_begun_ends_alone(fake_runner, facts, monkeypatch):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 64, facts)
    with monkeypatch.context() as patched:

        def fail(capacity, variant):
            raise OSError(24, "Too many open files")

        patched.setattr(runner, "new_sequence", fail)
        with pytest.raises(EngineFaultError, match="Too many open files"):
            ids_of(engine.generate([1], GREEDY))
    assert ids_of(engine.generate([1], greedy(max_tokens=2))) == [2, 3]
