"""The local engine over a fake runner: limits, stops, chunks, kept prefixes, cancelling, errors."""

import gc
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from ouvert.engine import (
    EngineBusyError,
    EngineError,
    EngineFailedError,
    EngineFaultError,
    Limits,
    LocalEngine,
    Sampling,
)
from ouvert.engine.local import SCORED_CHUNK
from ouvert.engine.request import MOST_UNREAD, goes_in_circles
from ouvert.engine.steps import STEP_TOKENS

GREEDY = Sampling(temperature=0)


@pytest.fixture
def runner(fake_runner):
    return fake_runner(16)


@pytest.fixture
def engine(runner, facts):
    return LocalEngine(runner, 64, facts)


def greedy(**changes):
    return Sampling(temperature=0, **changes)


def ids_of(generation):
    return [token.id for token in generation]


def eventually(true):
    """Wait, for thirty seconds at most, until the engine's thread has come so far."""
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until, "it did not come to it"
        time.sleep(0.002)


def counting(size):
    def scores(ids):
        row = np.zeros(size)
        row[(ids[-1] + 1) % size] = 5
        return row

    return scores


def test_an_answer_that_goes_in_circles_ends_and_says_so(fake_runner, facts):
    """The runner counts to fifteen for ever: a round of sixteen tokens."""
    engine = LocalEngine(fake_runner(16), 1000, facts)
    generation = engine.generate([1, 2], greedy(repetition_guard=64))
    assert len(ids_of(generation)) == 64
    assert generation.stopped.reason == "repetition"
    long_round = engine.generate([1], greedy(repetition_guard=16))
    assert len(ids_of(long_round)) == 48  # three rounds at least
    unguarded = engine.generate([1, 2], greedy(max_tokens=200))
    assert len(ids_of(unguarded)) == 200
    assert unguarded.stopped.reason == "length"
    engine.close()


@pytest.mark.parametrize(
    ("tokens", "circling"),
    [
        ([7] * 32, True),
        ([1, 2, 3] * 11, True),
        ([*range(100), *([4, 5] * 16)], True),
        ([7] * 31, False),
        ([*range(8), 9] * 3, False),  # three rounds, but of less than 32 tokens
        ([*range(20)] * 3, True),
        ([*range(20)] * 2 + [*range(19)], False),
        ([*([1, 2] * 16), 3], False),  # it has got out
        ([*range(200)], False),
        ([], False),
    ],
)
def test_circles_are_told_from_lists(tokens, circling):
    assert goes_in_circles(tokens, 32) is circling


def test_an_answer_ends_at_a_stop_token_which_is_its_last(engine):
    generation = engine.generate([1, 2], greedy(stop_ids=frozenset({5})))
    assert ids_of(generation) == [3, 4, 5]
    stopped = generation.stopped
    assert (stopped.reason, stopped.prompt_tokens, stopped.reused_tokens, stopped.output_tokens) == ("stop", 2, 0, 3)
    assert min(stopped.seconds_queued, stopped.seconds_prefill, stopped.seconds_decode) >= 0


def test_an_answer_ends_after_max_tokens(engine, runner):
    generation = engine.generate([1], greedy(max_tokens=3))
    assert ids_of(generation) == [2, 3, 4]
    assert generation.stopped.reason == "length"
    assert runner.steps == [[(1, "last")]] * 3  # the last token is not computed on


def test_an_answer_ends_where_the_context_is_full(fake_runner, facts):
    generation = LocalEngine(fake_runner(16), 8, facts).generate([1, 2, 3], GREEDY)
    assert ids_of(generation) == [4, 5, 6, 7, 8]
    assert generation.stopped.reason == "length"


def test_a_stop_token_at_the_limit_is_a_stop(engine):
    generation = engine.generate([1], greedy(max_tokens=2, stop_ids=frozenset({3})))
    assert ids_of(generation) == [2, 3]
    assert generation.stopped.reason == "stop"


def test_a_prompt_that_cannot_fit_is_refused_with_both_numbers(engine, runner):
    with pytest.raises(EngineError, match=r"70 tokens.* holds 64"):
        engine.generate([1] * 70, GREEDY)
    with pytest.raises(EngineError, match=r"64 tokens.* holds 64"):  # the answer needs a place too
        engine.generate([1] * 64, GREEDY)
    with pytest.raises(EngineError, match=r"65 tokens.* holds 64"):
        engine.logits([1] * 65)
    assert runner.steps == []


@pytest.mark.parametrize(("ids", "named"), [([], "no tokens"), ([3, 16], "token 16"), ([-1], "token -1")])
def test_a_prompt_that_makes_no_sense_is_refused(engine, ids, named):
    with pytest.raises(EngineError, match=named):
        engine.generate(ids, GREEDY)


def test_sampling_is_checked_on_arrival(engine):
    with pytest.raises(EngineError, match="top_p=3"):
        engine.generate([1], Sampling(top_p=3))


def test_the_answer_is_computed_ahead_of_its_reader_but_not_without_end(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 4 * MOST_UNREAD, facts)
    generation = engine.generate([1], GREEDY)
    eventually(lambda: len(runner.steps) >= MOST_UNREAD - 1)  # how far the prompt was read lies unread as well
    ids_of(engine.generate([2], greedy(max_tokens=30)))  # the other waits for its reader meanwhile
    assert len(runner.steps) <= MOST_UNREAD + 30
    assert len(ids_of(generation)) == 4 * MOST_UNREAD - 1


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


def test_stopped_cannot_be_asked_for_while_tokens_are_to_come(engine):
    generation = engine.generate([1], greedy(max_tokens=2))
    next(iter(generation))
    with pytest.raises(RuntimeError, match="still to come"):
        _ = generation.stopped


def test_iterating_again_goes_on_where_it_was(engine):
    generation = engine.generate([1], greedy(max_tokens=3))
    assert next(iter(generation)).id == 2
    assert ids_of(generation) == [3, 4]
    assert ids_of(generation) == []


def test_a_long_prompt_goes_in_chunks_and_only_its_end_gives_logits(fake_runner, facts):
    runner = fake_runner(16)
    prompt = [n % 16 for n in range(2 * STEP_TOKENS + 10)]
    generation = LocalEngine(runner, 4096, facts).generate(prompt, greedy(max_tokens=1))
    assert ids_of(generation) == [(prompt[-1] + 1) % 16]
    assert runner.steps == [[(STEP_TOKENS, "none")], [(STEP_TOKENS, "none")], [(10, "last")]]


def test_who_asks_is_told_after_each_step_how_far_the_prompt_is_read(fake_runner, facts):
    runner = fake_runner(16)
    taken = threading.Semaphore(0)
    runner.before_step = taken.acquire  # no step before what was said so far is read
    prompt = [n % 16 for n in range(2 * STEP_TOKENS + 10)]
    generation = LocalEngine(runner, 4096, facts).generate(prompt, greedy(max_tokens=1))
    readings = []
    for reading in generation.reading():
        readings.append(reading)
        taken.release()
    assert [each.done for each in readings] == [0, STEP_TOKENS, 2 * STEP_TOKENS]
    assert {(each.total, each.reused) for each in readings} == {(len(prompt), 0)}
    assert readings[0].seconds_left is None
    last = readings[-1]
    assert last.seconds_left == last.seconds * 10 / (2 * STEP_TOKENS)
    assert list(generation.reading()) == []
    assert ids_of(generation) == [(prompt[-1] + 1) % 16]


def test_what_a_cache_holds_counts_as_read_from_the_beginning(engine):
    ids_of(engine.generate([1, 2, 3], greedy(max_tokens=3)))
    generation = engine.generate([1, 2, 3, 4, 5, 9, 9], greedy(max_tokens=1))
    assert [(each.done, each.reused, each.total) for each in generation.reading()] == [(5, 5, 7)]
    assert ids_of(generation) == [10]


def test_how_far_a_prompt_is_read_is_never_taken_for_a_token(fake_runner, facts):
    engine = LocalEngine(fake_runner(16), 4096, facts)
    generation = engine.generate([1] * (3 * STEP_TOKENS), greedy(max_tokens=2))
    assert ids_of(generation) == [2, 3]
    assert list(generation.reading()) == []


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


def test_a_prompt_of_exactly_one_chunk_is_one_step(fake_runner, facts):
    runner = fake_runner(16)
    ids_of(LocalEngine(runner, 4096, facts).generate([1] * STEP_TOKENS, greedy(max_tokens=1)))
    assert runner.steps == [[(STEP_TOKENS, "last")]]


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


def test_two_answers_are_computed_together_without_harming_each_other(engine, runner):
    one = iter(engine.generate([1], greedy(max_tokens=4)))
    other = iter(engine.generate([8], greedy(max_tokens=4)))
    mixed = [next(one).id, next(other).id, next(other).id, next(one).id, *(t.id for t in one), *(t.id for t in other)]
    assert mixed == [2, 9, 10, 3, 4, 5, 11, 12]
    assert runner.open_sequences == 0


def test_answers_in_several_threads_are_those_of_one(fake_runner, facts):
    engine = LocalEngine(fake_runner(16), 64, facts)
    answers = {}

    def answer(start):
        answers[start] = ids_of(engine.generate([start], greedy(max_tokens=20)))

    threads = [threading.Thread(target=answer, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {n: [(n + 1 + k) % 16 for k in range(20)] for n in range(6)}


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
    go_on = threading.Event()
    runner.before_step = go_on.wait
    engine = LocalEngine(runner, 64, facts, limits=Limits(most_running=1, most_waiting=2))
    first = engine.generate([1], greedy(max_tokens=2))
    eventually(lambda: engine.load.waiting == 1)  # it is being read
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


def held_runner(fake_runner):
    """A runner that computes once its event is set, so that what is asked for before arrives together."""
    runner = fake_runner(16)
    held = threading.Event()
    runner.before_step = held.wait
    return runner, held


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


def test_answers_go_on_while_a_long_prompt_is_read(fake_runner, facts):
    runner, prompt_came = fake_runner(16), threading.Event()
    runner.before_step = lambda: runner.steps == [] or prompt_came.wait(30)  # the answer stops after its first token
    engine = LocalEngine(runner, 4096, facts)
    answer = iter(engine.generate([1], greedy(max_tokens=400)))
    next(answer)
    long = engine.generate([n % 16 for n in range(1000)], greedy(max_tokens=1))
    prompt_came.set()
    ids_of(long)
    both = [step for step in runner.steps if len(step) == 2 and step[1][0] > 1]
    assert both
    assert all(step[0] == (1, "last") for step in both)


def test_more_than_memory_holds_take_turns_and_nothing_changes(fake_runner, facts):
    runner = fake_runner(16)
    runner.cache_limit = 6 * runner.page_bytes
    engine = LocalEngine(runner, 64, facts, limits=Limits(cache_bytes=runner.cache_limit))
    generations = [engine.generate([n, n, n], greedy(max_tokens=12)) for n in range(5)]
    assert [ids_of(each) for each in generations] == [[(n + 1 + k) % 16 for k in range(12)] for n in range(5)]
    assert runner.open_sequences == 0


def test_what_memory_can_never_hold_is_refused_with_both_numbers(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 4096, facts, limits=Limits(cache_bytes=100_000))
    engine.generate([1] * 1000, greedy(max_tokens=1))
    runner = fake_runner(16)
    runner.cache_bytes = lambda tokens: 10_000 * tokens
    small = LocalEngine(runner, 4096, facts, limits=Limits(cache_bytes=1_500_000))
    with pytest.raises(EngineError, match=r"of its 200 tokens take 2\.0 MB, and this engine has 1\.5 MB"):
        small.generate([1] * 200, GREEDY)


def test_broken_logits_are_an_error_in_the_middle_of_an_answer(fake_runner, facts):
    def scores(ids):
        return np.full(16, np.nan if len(ids) > 2 else 1.0)

    generation = LocalEngine(fake_runner(16, scores), 64, facts).generate([1], GREEDY)
    tokens = iter(generation)
    assert [next(tokens).id, next(tokens).id] == [0, 0]
    with pytest.raises(EngineError, match="NaN"):
        next(tokens)


def test_the_seed_is_reported_whether_asked_for_or_not(engine):
    asked = engine.generate([1], Sampling(seed=12, max_tokens=4))
    drawn = engine.generate([1], Sampling(max_tokens=4))
    first = [ids_of(asked), ids_of(drawn)]
    assert asked.stopped.seed == 12
    again = engine.generate([1], Sampling(seed=drawn.stopped.seed, max_tokens=4))
    assert ids_of(again) == first[1]


def test_logits_are_those_after_every_token(engine, runner):
    rows = engine.logits([3, 4, 9])
    assert rows.dtype == np.float32
    assert rows.shape == (3, 16)
    assert rows.argmax(axis=1).tolist() == [4, 5, 10]
    assert runner.open_sequences == 0


def test_scores_are_log_softmaxes_and_go_in_chunks(fake_runner, facts):
    runner = fake_runner(16)
    engine = LocalEngine(runner, 4096, facts)
    ids = [n % 16 for n in range(SCORED_CHUNK + 5)]
    ids[7] = 0
    scored = engine.score(ids, top=1)
    # one logit of 5 and fifteen of 0
    likely, unlikely = 5 - np.log(np.exp(5) + 15), -np.log(np.exp(5) + 15)
    assert [token.id for token in scored] == ids[1:]
    assert scored[0].logprob == pytest.approx(likely)
    assert scored[6].logprob == pytest.approx(unlikely)
    assert scored[6].top == ((7, pytest.approx(likely)),)
    assert runner.steps == [[(SCORED_CHUNK, "all")], [(4, "all")]]


def test_one_token_has_no_score(engine, runner):
    assert engine.score([3]) == []
    assert runner.steps == []


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


@pytest.mark.parametrize(
    "fields",
    [
        {"top_k": 2**63},
        {"top_k": 10**5000},
        {"top_k": True},
        {"top_k": 1.0},
        {"seed": 2**64},
        {"seed": -1},
        {"max_tokens": 2**63},
        {"temperature": float("nan")},
        {"temperature": "1"},
        {"temperature": 10**400},
        {"repetition_penalty": 0.0},
        {"presence_penalty": float("inf")},
        {"frequency_penalty": 1e31},
        {"logit_bias": {2**63: 1.0}},
        {"logit_bias": {1: float("nan")}},
        {"logit_bias": {1.5: 1.0}},
        {"stop_ids": frozenset({2**64})},
        {"logprobs": 17},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_number_out_of_its_range_is_refused_by_name_and_the_engine_goes_on(engine, fields):
    with pytest.raises(EngineError, match=next(iter(fields))):
        engine.generate([1], Sampling(**fields))
    assert ids_of(engine.generate([1], greedy(max_tokens=2))) == [2, 3]


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), -1.0, 1e300, "5", 10**400], ids=str)
def test_a_timeout_that_is_no_number_of_seconds_is_refused_by_name(engine, timeout):
    with pytest.raises(EngineError, match="timeout"):
        engine.generate([1], GREEDY, timeout=timeout)
    assert ids_of(engine.generate([1], greedy(max_tokens=2), timeout=1e9)) == [2, 3]


@pytest.mark.parametrize(
    "fields",
    [
        {"top_k": 2**31 - 1, "temperature": 1e-300},
        {"temperature": 1e30, "top_k": np.int64(3)},
        {"presence_penalty": 1e30, "frequency_penalty": -1e30, "repetition_penalty": 1e30},
        {"logit_bias": {3: -1e30, 4: 1e30}, "min_p": 1.0},
        {"seed": 2**64 - 1, "max_tokens": 2**63 - 1},
    ],
    ids=str,
)
def test_the_largest_numbers_that_are_taken_give_an_answer(engine, fields):
    ids = ids_of(engine.generate([1], Sampling(**fields)))
    assert len(ids) == 63
    assert all(0 <= each < 16 for each in ids)


def test_stop_ids_that_the_vocabulary_does_not_have_are_never_chosen(engine):
    class Open:
        accepting, finished = True, False

        def begin(self):
            return self

        def allowed(self):
            return np.array([2, 3])

        def advance(self, token):
            pass

    ends = frozenset({3, 16, 2**31 - 1})
    assert ids_of(engine.generate([1], greedy(stop_ids=ends, constraint=Open()))) == [2, 3]


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


def test_facts_are_made_when_first_asked_for(runner, facts):
    asked = []
    engine = LocalEngine(runner, 64, lambda: asked.append(1) or facts())
    assert asked == []
    assert engine.facts.threads == 1
    assert asked == [1]


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
