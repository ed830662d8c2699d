"""Edits in the engine: beside unedited answers in one batch, in kept prefixes, and in every form of attention."""

import numpy as np
import pytest
from tests.engine.test_other_caches import native_runner, numpy_runner

from ouvert.engine import BASE, Edit, EngineError, LocalEngine, Sampling, Variant

PROMPT = [n % 61 for n in range(300)]
SCALED = Variant((), (Edit(operation="scale", tap="layers.0.out", values=(1.5,)),))
LATER = Variant((), (Edit(operation="zero", tap="layers.1.*.out", start=200),))
QUERIES = Variant((), (Edit(operation="zero", tap="layers.*.attention.q", strength=0.5),))
ALL = (BASE, SCALED, LATER)
FAMILIES = ("llama", "gpt_oss", "mamba", "mamba2", "deepseek_v3")


def answered(engine, variant, prompt=PROMPT, **settings):
    generation = engine.generate(prompt, Sampling(seed=5, max_tokens=12), variant, **settings)
    return [token.id for token in generation], generation.stopped


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_of_several_variants_share_steps_and_are_those_that_each_gets_alone(facts, family):
    alone = {}
    for variant in ALL:
        engine = LocalEngine(native_runner(family), 4096, facts)
        alone[variant] = answered(engine, variant)[0]
        engine.close()
    assert len(set(map(tuple, alone.values()))) == len(ALL)
    engine = LocalEngine(native_runner(family), 4096, facts)
    running = [(variant, engine.generate(PROMPT, Sampling(seed=5, max_tokens=12), variant)) for variant in ALL * 2]
    for variant, generation in running:
        assert [token.id for token in generation] == alone[variant]
        assert generation.stopped.variant == variant
    engine.close()


@pytest.mark.parametrize("runner", [native_runner, numpy_runner], ids=["native", "NumPy"])
@pytest.mark.parametrize("family", FAMILIES)
def test_kept_prefixes_are_found_again_by_the_same_variant_alone(facts, runner, family):
    engine = LocalEngine(runner(family), 4096, facts)
    first = {variant: answered(engine, variant) for variant in ALL}
    assert [stopped.reused_tokens for _, stopped in first.values()] == [0] * len(ALL)
    for variant in ALL:
        tokens, stopped = answered(engine, variant)
        assert (tokens, stopped.reused_tokens > 250) == (first[variant][0], True)
    engine.close()


@pytest.mark.parametrize("runner", [native_runner, numpy_runner], ids=["native", "NumPy"])
def test_a_variant_that_changes_nothing_has_the_bases_bits(facts, runner):
    engine = LocalEngine(runner("llama"), 4096, facts)
    nothing = Variant((), (Edit(operation="zero", tap="layers.*.out", strength=0.0),))
    np.testing.assert_array_equal(engine.logits(PROMPT, nothing), engine.logits(PROMPT))
    assert nothing.digest != BASE.digest
    engine.close()


@pytest.mark.parametrize("runner", [native_runner, numpy_runner], ids=["native", "NumPy"])
def test_queries_in_latent_space_are_edited_where_they_are_made(facts, runner):
    """The expanded form never makes them: a prompt whose variant edits them is read in the other form."""
    engine = LocalEngine(runner("deepseek_v3"), 4096, facts)
    prompt = PROMPT * 2
    plain, base = answered(engine, BASE, prompt, first_turn=len(prompt))
    tokens, stopped = answered(engine, QUERIES, prompt, first_turn=len(prompt))
    assert (base.expanded_tokens, stopped.expanded_tokens) == (512, 0)
    assert tokens == answered(engine, QUERIES, prompt, first_turn=0)[0] != plain
    assert answered(engine, SCALED, prompt, first_turn=len(prompt))[1].expanded_tokens == 512
    engine.close()


@pytest.mark.parametrize("runner", [native_runner, numpy_runner], ids=["native", "NumPy"])
def test_an_edit_that_the_model_cannot_do_is_refused_before_anything_is_queued(facts, runner):
    engine = LocalEngine(runner("llama"), 4096, facts)
    wrong = Variant((), (Edit(operation="zero", tap="layers.0.experts.out"),))
    with pytest.raises(EngineError, match=r"editing layers.0.experts.out: llama .* has no such value"):
        engine.generate(PROMPT, Sampling(max_tokens=1), wrong)
    assert (engine.load.waiting, engine.load.steps) == (0, 0)
    engine.close()


def test_who_looks_inside_sees_an_edited_answer_as_it_was_computed(facts):
    engine = LocalEngine(native_runner("llama"), 4096, facts)
    ids = np.asarray(PROMPT, np.int32)
    with engine.watching(["layers.1.mlp.out", "layers.0.out"], LATER) as watching:
        rows = watching.step([(watching.new_sequence(len(ids)), ids)], "all")
        seen = watching.seen("layers.1.mlp.out")
    np.testing.assert_array_equal(rows, engine.logits(PROMPT, LATER))
    assert seen[:200].any(axis=1).all()
    assert not seen[200:].any()
    engine.close()
