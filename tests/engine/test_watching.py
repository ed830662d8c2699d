"""Looking inside a model that serves: the engine's own weights, threads and caches, between two of its steps."""

import numpy as np
import pytest
from tests.engine.test_other_caches import native_runner, numpy_runner

from ouvert import kernels
from ouvert.engine import EngineError, LocalEngine, Sampling

IDS = np.array([n % 61 for n in range(200)], np.int32)
NAMES = ["embedding", "layers.0.out", "layers.1.out", "norm"]


@pytest.fixture(params=["native", "NumPy"])
def engine(request, facts):
    made = LocalEngine((native_runner if request.param == "native" else numpy_runner)("llama"), 4096, facts)
    yield made
    made.close()


def test_logits_are_those_of_an_engine_that_nobody_watches(engine):
    with engine.watching(NAMES) as watching:
        rows = watching.step([(watching.new_sequence(len(IDS)), IDS)], "all")
    np.testing.assert_array_equal(rows, engine.logits(IDS.tolist()))


def test_what_is_seen_is_what_a_program_of_its_own_would_keep(facts):
    runner = native_runner("llama")
    own = kernels.build(kernels.Tracer(), runner._model, threads=1, watch=NAMES)
    own.step([(own.new_sequence(len(IDS)), IDS)], "last")
    expected = {name: own.seen(name) for name in NAMES}
    with LocalEngine(runner, 4096, facts).watching(NAMES) as watching:  # the engine lives as long as its watching
        watching.step([(watching.new_sequence(len(IDS)), IDS)], "last")
        for name in NAMES:
            np.testing.assert_array_equal(watching.seen(name), expected[name])


def test_answers_go_on_beside_it_and_are_the_same(engine):
    def answer():
        return [token.id for token in engine.generate(IDS[:50].tolist(), Sampling(seed=3, max_tokens=40))]

    alone = answer()
    generation = engine.generate(IDS[:50].tolist(), Sampling(seed=3, max_tokens=40))
    with engine.watching(NAMES) as watching:
        sequence = watching.new_sequence(len(IDS))
        for part in np.split(IDS, 20):
            watching.step([(sequence, part)], "last")
    assert [token.id for token in generation] == alone == answer()


def test_its_sequences_are_given_back(engine):
    with engine.watching(["layers.0.out"]) as watching:
        watching.step([(watching.new_sequence(len(IDS)), IDS)], "none")
        assert engine._loop.caches.lent
    assert not engine._loop.caches.lent


def test_a_name_that_is_not_shown_is_refused_with_those_near_it(engine):
    with pytest.raises(EngineError, match=r"layers\.0\.outs: llama .* does not show that.*layers\.0\.out"):
        engine.watching(["layers.0.outs"])


def test_what_was_not_watched_is_refused(engine):
    with engine.watching(["layers.0.out"]) as watching, pytest.raises(LookupError, match="Watch it"):
        watching.seen("layers.1.out")


def test_a_closed_engine_shows_nothing(engine):
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.watching(["layers.0.out"])
