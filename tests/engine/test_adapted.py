"""Adapters in the engine: beside bare answers in one batch, in kept prefixes, and in all that an engine is asked."""

import threading

import numpy as np
import pytest
from tests.engine.test_other_caches import native_runner, numpy_runner
from tests.kernels.test_adapters import pairs_of

from ouvert import arithmetic, kernels, models
from ouvert.engine import BASE, Edit, EngineError, LocalEngine, Sampling, ScaledAdapter, Variant
from ouvert.engine.prefixes.disk import DiskPrefixes
from ouvert.engine.prefixes.page_files import PageFiles
from ouvert.packed import Adapter

PROMPT = [n % 61 for n in range(300)]
IDS = np.array(PROMPT[:120], np.int32)
FAMILIES = ("llama", "qwen2", "qwen3", "mixtral", "gpt_oss", "deepseek_v3")
RUNNERS = {"native": native_runner, "NumPy": numpy_runner}
ADAPTED = {family: [Adapter(pairs_of(native_runner(family)._model, seed)) for seed in (1, 2)] for family in FAMILIES}


@pytest.fixture(params=RUNNERS)
def runner(request):
    return RUNNERS[request.param]


@pytest.fixture
def opened(facts):
    """opened(runner, family) -> an engine that has two adapters, and its variants: the base, each, and both of them."""
    made = []

    def open_engine(runner, family, **settings):
        engine = LocalEngine(runner(family), 4096, facts, **settings)
        made.append(engine)
        one, two = (ScaledAdapter(engine.adapters.add(each)) for each in ADAPTED[family])
        return engine, (BASE, Variant((one,)), Variant((two,)), Variant((two, one)))

    yield open_engine
    for engine in made:
        engine.close()


def answered(engine, variant, prompt=PROMPT, **settings):
    generation = engine.generate(prompt, Sampling(seed=5, max_tokens=12, logprobs=1), variant, **settings)
    return list(generation), generation.stopped


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_of_several_adapters_share_steps_and_are_those_that_each_gets_alone(opened, family):
    alone = {}
    for n in range(4):
        engine, variants = opened(native_runner, family)
        alone[variants[n]] = answered(engine, variants[n])[0]
    assert len({tuple(token.id for token in each) for each in alone.values()}) == 4
    engine, variants = opened(native_runner, family)
    running = [
        (each, engine.generate(PROMPT, Sampling(seed=5, max_tokens=12, logprobs=1), each)) for each in variants * 2
    ]
    for variant, generation in running:
        assert list(generation) == alone[variant]  # ids and log-probabilities, to the bit
        assert generation.stopped.variant == variant


@pytest.mark.parametrize("family", FAMILIES)
def test_kept_prefixes_are_found_again_by_the_same_variant_alone(opened, runner, family):
    engine, variants = opened(runner, family)
    first = {variant: answered(engine, variant) for variant in variants}
    assert [stopped.reused_tokens for _, stopped in first.values()] == [0] * 4
    for variant in variants:
        tokens, stopped = answered(engine, variant)
        assert [token.id for token in tokens] == [token.id for token in first[variant][0]]
        assert stopped.reused_tokens > 250


@pytest.mark.parametrize("family", ["llama", "gpt_oss", "deepseek_v3"])
def test_prefixes_on_disk_are_found_again_after_a_restart_by_the_same_variant_alone(opened, tmp_path, family):
    def with_disk():
        files = PageFiles(tmp_path, quota=10**9)
        return opened(native_runner, family, disk=DiskPrefixes(files, lambda: {"model": family}, 64))

    engine, variants = with_disk()
    first = {variant: answered(engine, variant, PROMPT * 2) for variant in variants[:3]}
    assert [stopped.reused_tokens for _, stopped in first.values()] == [0] * 3
    engine.close()
    engine, _ = with_disk()
    for variant in variants:
        tokens, stopped = answered(engine, variant, PROMPT * 2)
        assert (stopped.reused_tokens > 500) == (variant in first)
        assert variant not in first or tokens == first[variant][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_native_programs_and_numpy_agree(opened, family):
    """Both keep float32 throughout; sums come in another order, as in tests/models/test_taps.py."""
    native, variants = opened(lambda name: native_runner(name, exact=True, cache="f32"), family)
    readable, _ = opened(numpy_runner, family)
    for variant in variants:
        expected = readable.logits(IDS.tolist(), variant)
        np.testing.assert_allclose(native.logits(IDS.tolist(), variant), expected, rtol=2e-3, atol=3e-4)


def test_whatever_an_engine_is_asked_is_computed_with_the_adapter(opened, runner):
    engine, (_, one, *_) = opened(runner, "llama")
    ids = IDS.tolist()
    rows = engine.logits(ids, one)
    assert not np.allclose(rows, engine.logits(ids))
    np.testing.assert_array_equal(engine.logits(ids, one, start=60)[-1].argmax(), rows[-1].argmax())
    wide = rows.astype(np.float64)
    wide -= wide.max(1, keepdims=True)
    expected = wide - np.log(np.exp(wide).sum(1, keepdims=True))
    scored, [again] = engine.score(ids, 0, one), engine.score_all([ids], 0, one)
    assert scored == again
    found = [token.logprob for token in scored]
    np.testing.assert_allclose(found, expected[np.arange(len(ids) - 1), ids[1:]], atol=1e-4)


def test_vectors_of_texts_are_computed_with_the_adapter(facts):
    runner = native_runner("llama")
    runner.width = runner.vocabulary_size  # its rows, taken for vectors
    engine = LocalEngine(runner, 4096, facts, embeds=True)
    variant = Variant((ScaledAdapter(engine.adapters.add(ADAPTED["llama"][0])),))
    vectors, bare = engine.embed([PROMPT[:9], PROMPT[:30]], variant), engine.embed([PROMPT[:9], PROMPT[:30]])
    assert not np.allclose(vectors, bare, atol=1e-3)
    np.testing.assert_array_equal(engine.embed([PROMPT[:30]], variant)[0], vectors[1])
    engine.close()


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_what_is_watched_is_what_the_adapted_answer_computes(opened, runner, family):
    engine, variants = opened(runner, family)
    names = ["layers.0.attention.q", "layers.1.out", "norm", "logits"]
    for variant in variants[:3]:
        with engine.watching(names, variant) as watching:
            rows = watching.step([(watching.new_sequence(len(IDS)), IDS)], "all")
            np.testing.assert_array_equal(rows, engine.logits(IDS.tolist(), variant))
            seen = {name: watching.seen(name) for name in names}
        with engine.watching(names) as bare:
            bare.step([(bare.new_sequence(len(IDS)), IDS)], "all")
            for name in names:
                assert seen[name].shape == bare.seen(name).shape
                assert (variant == BASE) == np.array_equal(seen[name], bare.seen(name))


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_a_step_of_several_variants_shows_each_its_own(opened, runner, family):
    """Rows of attention are as long as the longest of the step; values of wanted tokens come beside those of all."""
    engine, variants = opened(runner, family)
    names = frozenset({"layers.0.attention.weights", "layers.1.attention.k", "layers.1.out", "norm", "logits"})
    computing, works = engine._runner, []
    lengths, wanted = (30, 90, 1, 50, 70), ["all", "last", "last", "none", "last"]
    for variant, length in zip((*variants, variants[1]), lengths, strict=True):
        works.append((variant, IDS[:length]))
    together, seen = computing.step_watched(
        [(computing.new_sequence(200, variant), ids) for variant, ids in works], wanted, names
    )
    first, row = 0, 0
    for (variant, ids), wish in zip(works, wanted, strict=True):
        rows, own = computing.step_watched([(computing.new_sequence(200, variant), ids)], [wish], names)
        np.testing.assert_allclose(together[row : row + len(rows)], rows, rtol=1e-4, atol=1e-4)
        for name in names:
            at = row if len(seen[name]) == len(together) else first
            part = seen[name][at : at + len(own[name])]
            if name.endswith("weights"):
                heads = own[name].shape[1] // len(ids)
                part = part.reshape(len(part), heads, -1)[:, :, : len(ids)].reshape(len(part), -1)
            np.testing.assert_allclose(part, own[name], rtol=1e-4, atol=1e-4, err_msg=name)
        first, row = first + len(ids), row + len(rows)


def test_adapters_and_edits_make_one_variant(opened, runner):
    engine, (_, one, *_) = opened(runner, "llama")
    edited = Variant(one.adapters, (Edit(operation="scale", tap="layers.0.out", values=(1.5,)),))
    rows = [engine.logits(IDS.tolist(), each) for each in (BASE, one, Variant((), edited.edits), edited)]
    for n, each in enumerate(rows):
        assert all(not np.allclose(each, other, atol=1e-3) for other in rows[:n])


def test_a_scale_multiplies_what_an_adapter_adds(opened, runner):
    engine, (_, one, *_) = opened(runner, "mixtral")
    given = ADAPTED["mixtral"][0]
    twice = engine.adapters.add(Adapter({name: pair.scaled(2.0) for name, pair in given.pairs.items()}))
    scaled = Variant((ScaledAdapter(one.adapters[0].digest, 2.0),))
    expected = engine.logits(IDS.tolist(), Variant((ScaledAdapter(twice),)))
    np.testing.assert_array_equal(engine.logits(IDS.tolist(), scaled), expected)
    assert scaled.digest != one.digest
    np.testing.assert_allclose(
        engine.logits(IDS.tolist(), Variant((ScaledAdapter(one.adapters[0].digest, 0.0),))),
        engine.logits(IDS.tolist()),
        atol=1e-4,
    )


def test_an_adapter_that_is_not_there_is_refused_by_name_before_anything_is_queued(opened, runner):
    engine, _ = opened(runner, "llama")
    unknown = Variant((ScaledAdapter("sha256:" + "a" * 64),))
    for ask in (
        lambda: engine.generate(PROMPT, Sampling(), unknown),
        lambda: engine.logits(PROMPT, unknown),
        lambda: engine.score(PROMPT, 0, unknown),
        lambda: engine.watching(["norm"], unknown),
    ):
        with pytest.raises(EngineError, match=r"the adapter sha256:aaa.* is not in this engine"):
            ask()
    assert (engine.load.waiting, engine.load.steps) == (0, 0)


def test_one_that_is_removed_is_refused_and_answers_under_way_keep_it(opened):
    engine, (_, one, *_) = opened(native_runner, "llama")
    expected = answered(engine, one)[0]
    engine.forget_all()
    with engine.watching(["norm"], one) as watching:
        running = engine.generate(PROMPT, Sampling(seed=5, max_tokens=12, logprobs=1), one)
        digest = one.adapters[0].digest
        engine.adapters.remove(digest)
        assert digest not in engine.adapters.digests
        with pytest.raises(EngineError, match="is not in this engine"):
            engine.generate(PROMPT, Sampling(), one)
        assert list(running) == expected
        watching.step([(watching.new_sequence(9), IDS[:9])], "last")
    engine.adapters.remove(digest)
    assert engine.adapters.add(ADAPTED["llama"][0]) == digest
    assert answered(engine, one)[0] == expected


def test_an_answer_that_had_to_pause_goes_on_with_an_adapter_that_was_removed(opened):
    from ouvert.engine import Limits

    room = native_runner("llama").cache_bytes(400) + sum(
        kernels.Adapters(each.pairs).nbytes for each in ADAPTED["llama"]
    )
    engine, (_, one, *_) = opened(native_runner, "llama", limits=Limits(cache_bytes=room, kept_bytes=0))
    expected = [answered(engine, one, PROMPT[n:])[0] for n in range(3)]
    running = [engine.generate(PROMPT[n:], Sampling(seed=5, max_tokens=12, logprobs=1), one) for n in range(3)]
    engine.adapters.remove(one.adapters[0].digest)
    assert [list(each) for each in running] == expected


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda pair: {"layers.9.q": pair}, r"it adds to 'layers\.9\.q', and this model \(llama\) has no such weight"),
        (lambda pair: {"embedding": pair}, "it adds to 'embedding'.*of its layers down, gate, k, o, q, up, v"),
        (lambda pair: {"layers.0.down": pair}, r"its addition to layers\.0\.down is \(\d+, \d+\), expected"),
        (
            lambda pair: {"layers.0.q": arithmetic.LowRank(pair.a[None], pair.b[None], 1.0, experts=(0,))},
            r"layers\.0\.q is .* for the experts \(0,\), expected",
        ),
        (lambda pair: {"layers.0.q": arithmetic.LowRank(pair.a * np.float32("nan"), pair.b, 1.0)}, "or not finite"),
        (lambda pair: {"layers.0.q": arithmetic.LowRank(pair.a, pair.b, float("inf"))}, "or not finite"),
        (lambda pair: {"layers.0.q": arithmetic.LowRank(pair.a.astype(float), pair.b, 1.0)}, "not float32"),
    ],
)
def test_an_adapter_of_another_model_is_refused_by_the_name_of_its_weight(opened, runner, wrong, said):
    engine, _ = opened(runner, "llama")
    before = engine.adapters.digests
    with pytest.raises(EngineError, match=f"adding an adapter: .*{said}"):
        engine.adapters.add(Adapter(wrong(ADAPTED["llama"][0].pairs["layers.0.q"])))
    assert engine.adapters.digests == before


def test_adapters_take_their_bytes_from_those_of_caches(facts, runner):
    """Until they are let go of; caches have the least that they need in any case."""
    from ouvert.engine import Limits

    plain, adapter = runner("llama"), ADAPTED["llama"][0]
    least, room = plain.cache_bytes(100), plain.cache_bytes(3000)
    engine = LocalEngine(plain, 4096, facts, limits=Limits(cache_bytes=room, least_bytes=least))
    assert (engine.adapters.nbytes, engine.load.cache_limit) == (0, room)
    digest = engine.adapters.add(adapter)
    taken = engine.adapters.nbytes
    assert taken >= 4 * adapter.parameters  # float32; natively in whole blocks, many times as much for a tiny rank
    assert engine.load.cache_limit == room - taken
    longest = next(n for n in range(3000, 0, -1) if plain.cache_bytes(n) <= room - taken)
    with pytest.raises(EngineError, match=r"MB for caches beside .* MB of adapters"):
        engine.logits([1] * (longest + 70))
    engine.adapters.remove(digest)
    assert (engine.adapters.nbytes, engine.load.cache_limit) == (0, room)
    engine.close()
    tight = Limits(cache_bytes=least + 1, least_bytes=least)
    assert (tight.caches_beside(taken), tight.caches_beside(0)) == (least, least + 1)


def test_a_model_whose_layers_have_a_state_takes_none(facts, runner):
    engine = LocalEngine(runner("mamba"), 4096, facts)
    with pytest.raises(
        EngineError, match=r"this model \(mamba\) has no such weight: none of its weights may carry one"
    ):
        engine.adapters.add(ADAPTED["llama"][0])
    engine.close()


def test_shapes_are_the_same_for_every_runner():
    for family in FAMILIES:
        native, readable = native_runner(family), numpy_runner(family)
        assert native.adapters.shapes == readable.adapters.shapes == models.adaptable_shapes(native._model)
        assert native.adapters.shapes == native.programs.sibling(adapted=native.adapters.shapes).adaptable


def test_adapters_come_and_go_while_answers_are_written(opened):
    engine, variants = opened(native_runner, "llama")
    expected = {variant: answered(engine, variant)[0] for variant in variants}
    made, stop = [], threading.Event()

    def come_and_go():
        seed = 10
        while not stop.is_set():
            digest = engine.adapters.add(Adapter(pairs_of(engine._runner._model, seed)))
            made.append(engine.logits(PROMPT[:5], Variant((ScaledAdapter(digest),))))
            engine.adapters.remove(digest)
            seed += 1

    other = threading.Thread(target=come_and_go)
    other.start()
    for _ in range(5):
        for variant in variants:
            assert answered(engine, variant)[0] == expected[variant]
    stop.set()
    other.join()
    assert len(made) > 1
    assert len(engine.adapters.digests) == 2


def test_the_expanded_form_is_adapted_like_the_other(opened):
    engine, variants = opened(native_runner, "deepseek_v3")
    for variant in variants[1:3]:
        tokens, stopped = answered(engine, variant, PROMPT * 2, first_turn=520)
        assert stopped.expanded_tokens == 512
        plain = [token.id for token in answered(engine, variant, PROMPT * 2)[0]]
        assert sum(token.id == other for token, other in zip(tokens, plain, strict=True)) >= 10


def test_one_program_serves_all_adapters(opened):
    engine, variants = opened(native_runner, "llama")
    for variant in variants:
        engine.logits(PROMPT[:5], variant)
    programs = engine._runner.programs
    assert isinstance(programs, kernels.Programs)
    assert len(programs._siblings) == 1
