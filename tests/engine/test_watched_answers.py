"""Answers that are watched while they are written: what is told of each token is true, and changes nothing."""

import numpy as np
import pytest
from tests.engine.test_other_caches import native_runner, numpy_runner

from ouvert.engine import BASE, Edit, EngineError, LocalEngine, Sampling, Variant, Watch

PROMPT = [n % 61 for n in range(150)]
OTHERS = [[(7 * n + k) % 61 for n in range(40 + 30 * k)] for k in range(3)]
SCALED = Variant((), (Edit(operation="scale", tap="layers.0.out", values=(1.5,)),))
# Of each family, values that an answer is watched by.
WATCHED = {
    "llama": ["layers.0.out", "layers.1.out"],
    "gpt_oss": ["layers.0.experts.chosen", "layers.1.experts.weights", "layers.0.out"],
    "deepseek_v3": ["layers.1.experts.chosen", "layers.1.experts.weights", "layers.0.out"],
    "mamba": ["layers.0.mixer.state_norm", "layers.1.out"],
}


def sampling(watch=None, seed=5, tokens=20, **more):
    return Sampling(seed=seed, max_tokens=tokens, watch=watch, **more)


def watch_of(family):
    return Watch(confidence=True, names=frozenset(WATCHED[family]))


@pytest.fixture(params=WATCHED)
def family(request):
    return request.param


@pytest.fixture(params=[native_runner, numpy_runner], ids=["native", "NumPy"])
def engine(request, family, facts):
    made = LocalEngine(request.param(family), 4096, facts)
    made.native = request.param is native_runner
    yield made
    made.close()


def ids_of(tokens):
    return [token.id for token in tokens]


def test_the_watched_answer_is_the_unwatched_one(engine, family):
    plain = ids_of(engine.generate(PROMPT, sampling()))
    assert ids_of(engine.generate(PROMPT, sampling(watch_of(family)))) == plain


def test_what_is_seen_is_what_a_look_inside_sees_at_the_place_before_each_token(engine, family):
    tokens = list(engine.generate(PROMPT, sampling(watch_of(family)), first_turn=0))
    whole = PROMPT + ids_of(tokens)
    with engine.watching(WATCHED[family]) as watching:
        watching.step([(watching.new_sequence(len(whole)), np.array(whole, np.int32))], "all")
        for name in WATCHED[family]:
            expected = watching.seen(name)[len(PROMPT) - 1 : -1]
            found = np.stack([token.seen[name] for token in tokens])
            # NumPy's products have other last bits for another number of rows.
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=0 if engine.native else 1e-4)
            assert not engine.native or np.array_equal(found, expected)


def test_confidence_has_the_samplers_own_numbers(engine, family):
    tokens = list(engine.generate(PROMPT, sampling(watch_of(family), logprobs=2)))
    rows = engine.logits(PROMPT + ids_of(tokens))[len(PROMPT) - 1 : -1].astype(np.float64)
    for token, row in zip(tokens, rows, strict=True):
        found = token.confidence
        shares = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        assert (found.logprob, found.top[:2], len(found.top)) == (token.logprob, token.top, 5)
        assert found.rank == 1 + (row > row[token.id]).sum()
        assert found.entropy == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-5)


def test_confidence_asks_for_no_log_probabilities_beside_it(engine, family):
    [token] = engine.generate(PROMPT, sampling(Watch(confidence=True), tokens=1))
    assert (token.logprob, token.top, token.seen) == (None, (), None)
    assert len(token.confidence.top) == 5


@pytest.mark.parametrize("family", WATCHED)
def test_watched_and_unwatched_answers_share_steps_and_are_what_each_is_alone(facts, family):
    """Several watch different values; one is edited; the others know nothing of it."""
    names = WATCHED[family]
    settings = [None, Watch(names=frozenset(names[:1])), watch_of(family), None, Watch(confidence=True)]
    variants = [BASE, BASE, SCALED, SCALED, BASE]
    prompts = [PROMPT, *OTHERS, PROMPT[:70]]
    alone = []
    for prompt, watch, variant in zip(prompts, settings, variants, strict=True):
        engine = LocalEngine(native_runner(family), 4096, facts)
        alone.append(list(engine.generate(prompt, sampling(watch), variant)))
        engine.close()
    engine = LocalEngine(native_runner(family), 4096, facts)
    running = [
        engine.generate(prompt, sampling(watch), variant)
        for prompt, watch, variant in zip(prompts, settings, variants, strict=True)
    ]
    for generation, expected in zip(running, alone, strict=True):
        together = list(generation)
        assert ids_of(together) == ids_of(expected)
        for token, other in zip(together, expected, strict=True):
            assert token.confidence == other.confidence
            assert (token.seen is None) == (other.seen is None)
            for name in token.seen or ():
                np.testing.assert_array_equal(token.seen[name], other.seen[name])
    engine.close()


def test_a_value_that_no_token_has_a_row_of_is_refused_before_anything_is_queued(engine):
    for name in ("layers.9.out", "logits", "layers.0.outs"):
        with pytest.raises(EngineError, match=rf"watching an answer: {name}: .*docs/formats/taps.md"):
            engine.generate(PROMPT, sampling(Watch(names=frozenset({name}))))
    assert (engine.load.waiting, engine.load.steps) == (0, 0)


def test_every_name_that_is_shown_can_be_watched_and_has_its_width(engine):
    [token] = engine.generate(PROMPT, sampling(Watch(names=frozenset(engine.shown)), tokens=1))
    assert {name: row.size for name, row in token.seen.items()} == engine.shown


def test_an_unwatched_step_is_the_plain_programs(facts):
    """Nothing watched: the code path of the program that serves, and nobody asks for a sibling."""
    runner = native_runner("llama")
    asked = []
    runner.step_watched = lambda *given: asked.append(given)
    engine = LocalEngine(runner, 4096, facts)
    assert len(ids_of(engine.generate(PROMPT, sampling(Watch(confidence=True))))) == 20
    assert not asked
    engine.close()
