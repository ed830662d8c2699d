"""The local engine over a fake runner: ends, stops, chunks, progress, memory, scores, what is refused on arrival."""

import threading

import numpy as np
import pytest

from ouvert.engine import EngineError, Limits, LocalEngine, Sampling
from ouvert.engine.request import MOST_UNREAD, goes_in_circles
from ouvert.engine.steps import STEP_TOKENS

from .asking import GREEDY, eventually, greedy, ids_of


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


def test_a_prompt_of_exactly_one_chunk_is_one_step(fake_runner, facts):
    runner = fake_runner(16)
    ids_of(LocalEngine(runner, 4096, facts).generate([1] * STEP_TOKENS, greedy(max_tokens=1)))
    assert runner.steps == [[(STEP_TOKENS, "last")]]


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
    ids = [n % 16 for n in range(STEP_TOKENS + 5)]
    ids[7] = 0
    scored = engine.score(ids, top=1)
    # one logit of 5 and fifteen of 0
    likely, unlikely = 5 - np.log(np.exp(5) + 15), -np.log(np.exp(5) + 15)
    assert [token.id for token in scored] == ids[1:]
    assert scored[0].logprob == pytest.approx(likely)
    assert scored[6].logprob == pytest.approx(unlikely)
    assert scored[6].top == ((7, pytest.approx(likely)),)
    assert runner.steps == [[(STEP_TOKENS, "all")], [(4, "all")]]


def test_one_token_has_no_score(engine, runner):
    assert engine.score([3]) == []
    assert runner.steps == []


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


def test_facts_are_made_when_first_asked_for(runner, facts):
    asked = []
    engine = LocalEngine(runner, 64, lambda: asked.append(1) or facts())
    assert asked == []
    assert engine.facts.threads == 1
    assert asked == [1]
