"""Variants that change the numbers drive the whole engine: nothing is shared across them, whatever way they meet.

The stand-in at the runner's interface leaves something else in its caches under every variant, so a page that served
another variant would change the answer; and it says what is reused, so a page would be noticed even if it did not.
"""

import threading

import numpy as np
import pytest

from ouvert.engine import BASE, Edit, Limits, LocalEngine, PageFiles, Sampling, ScaledAdapter, Variant
from ouvert.engine.prefixes.disk import DiskPrefixes

SIZE = 16
PROMPT = [n % 16 for n in range(150)]
ADAPTED = Variant((ScaledAdapter("sha256:" + "a" * 64),))
EDITED = Variant((), (Edit(operation="zero", tap="layers.3.out"),))
ALL = (BASE, ADAPTED, EDITED)
KEPT = len(PROMPT) - 1  # the last token is always computed


def scores(ids):
    """Noise that depends on everything that is in the cache."""
    return np.random.default_rng(ids).standard_normal(SIZE).astype(np.float32) * 2


@pytest.fixture
def opened(fake_runner, facts, tmp_path):
    """opened(disk=False, limits=...) -> a new engine and its runner; all have the same folder on disk."""
    made = []

    def make(disk=False, limits=Limits()):  # noqa: B008 - a value that never changes
        settings = {}
        runner = fake_runner(SIZE, scores, (ADAPTED, EDITED))
        if disk:
            files = PageFiles(tmp_path / "pages", quota=10**9)
            settings["disk"] = DiskPrefixes(files, lambda: facts().identity.facts(), runner.page_tokens)
        runner.cache_limit = limits.cache_bytes
        made.append(LocalEngine(runner, 4096, facts, limits=limits, **settings))
        return made[-1], runner

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def only(opened):
    """only(variant, prompt, seed): the answer of an engine that never saw another variant."""

    def answer(variant, prompt=PROMPT, seed=1):
        engine, _ = opened()
        tokens, reused = answered(engine, variant, prompt, seed)
        assert reused == 0
        return tokens

    return answer


def answered(engine, variant, prompt=PROMPT, seed=1):
    generation = engine.generate(prompt, Sampling(seed=seed, max_tokens=12), variant)
    return [token.id for token in generation], generation.stopped.reused_tokens


def test_the_stand_in_has_other_numbers_for_every_variant(only):
    assert len({tuple(only(variant)) for variant in ALL}) == len(ALL)


def test_one_after_another_each_finds_what_it_left_itself_and_nothing_else(opened, only):
    engine, _ = opened()
    for reused in (0, KEPT):
        for variant in ALL:
            assert answered(engine, variant) == (only(variant), reused)


def test_over_a_restart_each_finds_its_own_pages_on_disk_and_nothing_else(opened, only):
    for seen in range(len(ALL)):
        engine, _ = opened(disk=True)
        for n, variant in enumerate(ALL[: seen + 1]):
            assert answered(engine, variant) == (only(variant), KEPT if n < seen else 0)
        engine.close()


def test_each_finds_its_own_pages_on_disk_after_they_left_memory(opened, only):
    engine, _ = opened(disk=True, limits=Limits(kept_bytes=0))
    for variant in ALL:
        assert answered(engine, variant)[1] == 0
    for variant in ALL:
        assert answered(engine, variant) == (only(variant), KEPT)


def test_in_one_batch_each_has_its_own_numbers_and_waits_for_none_of_the_others(opened, only):
    """A prompt waits for one that begins alike and reads it, and only if it is of the same variant."""
    engine, runner = opened()
    began, go_on = threading.Event(), threading.Event()

    def hold():
        began.set()
        go_on.wait()

    runner.before_step = hold
    first = engine.generate([1], Sampling(seed=1, max_tokens=1))
    began.wait()  # the thread is within a step: what comes now is taken in together
    waiting = [(variant, engine.generate(PROMPT, Sampling(seed=1, max_tokens=12), variant)) for variant in ALL]
    again = [engine.generate(PROMPT, Sampling(seed=1, max_tokens=12), variant) for variant in ALL]
    go_on.set()
    assert [[token.id for token in generation] for _, generation in waiting] == [only(variant) for variant in ALL]
    assert [[token.id for token in generation] for generation in again] == [only(variant) for variant in ALL]
    assert len(list(first)) == 1
    assert runner.steps[1] == [(len(PROMPT), "last")] * len(ALL)
    assert [generation.stopped.reused_tokens for _, generation in waiting] == [0] * len(ALL)
    assert [generation.stopped.reused_tokens for generation in again] == [KEPT] * len(ALL)


def test_where_memory_is_short_answers_pause_and_go_on_as_their_own_variant(opened, only):
    prompts = [[n] * 9 for n in range(4)]
    engine, runner = opened(limits=Limits(cache_bytes=14 * 40, kept_bytes=4 * 40))
    asked = [
        (variant, prompt, engine.generate(prompt, Sampling(seed=1, max_tokens=12), variant))
        for prompt in prompts
        for variant in ALL
    ]
    for variant, prompt, generation in asked:
        assert [token.id for token in generation] == only(variant, prompt)
    assert max(map(len, runner.steps)) > 1


@pytest.mark.parametrize("seen_again", [ALL, (BASE,), (ADAPTED,)], ids=["all", "the base", "a variant"])
def test_what_is_forgotten_is_forgotten_of_every_variant_also_of_those_that_only_the_disk_has(opened, seen_again):
    before, _ = opened(disk=True)
    for variant in ALL:
        answered(before, variant)
        answered(before, variant, [3] * 200)
    before.close()
    after, _ = opened(disk=True)
    for variant in seen_again:
        assert answered(after, variant)[1] == KEPT
    after.forget(lambda ids: list(ids[:10]) == PROMPT[:10])
    for engine in (after, opened(disk=True)[0]):
        for variant in ALL:
            assert answered(engine, variant, PROMPT[:140], seed=2)[1] == 0
            assert answered(engine, variant, [3] * 200)[1] == 199
        engine.forget(lambda ids: list(ids[:10]) == PROMPT[:10])
    assert after.load.kept_bytes > 0


def test_forgetting_everything_in_memory_takes_every_variant(opened):
    engine, _ = opened()
    for variant in ALL:
        answered(engine, variant)
    engine.forget_all()
    for variant in ALL:
        assert answered(engine, variant)[1] == 0


def test_logits_and_scores_are_those_of_the_variant(opened):
    engine, _ = opened()
    rows = [engine.logits(PROMPT[:20], variant) for variant in ALL]
    assert not np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[1], rows[2])
    np.testing.assert_array_equal(rows[0], engine.logits(PROMPT[:20]))
    scored = [engine.score(PROMPT[:20], 1, variant) for variant in ALL]
    assert len({tuple(token.logprob for token in each) for each in scored}) == len(ALL)


def test_an_answer_and_its_facts_say_of_which_variant_they_are(opened):
    engine, _ = opened()
    digests = set()
    for variant in ALL:
        generation = engine.generate(PROMPT, Sampling(max_tokens=1), variant)
        list(generation)
        assert generation.stopped.variant == variant
        facts = engine.facts.of_variant(generation.stopped.variant)
        assert facts.identity.variant == variant.digest
        digests.add(facts.identity.digest)
    assert len(digests) == len(ALL)
    assert engine.facts.of_variant(BASE) == engine.facts


def test_the_bases_pages_on_disk_are_called_as_they_were_before_there_were_variants(opened, tmp_path, facts):
    engine, _ = opened(disk=True)
    answered(engine, BASE)
    engine.close()
    files = PageFiles(tmp_path / "pages", quota=10**9)
    first = files.name(files.root(facts().identity.facts()), PROMPT[:4])
    assert files.holds(first)
