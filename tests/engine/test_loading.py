"""From a file to an engine: the facts, and both runners on the same weights."""

import hashlib

import numpy as np
import pytest

from ouvert import kernels
from ouvert.engine import AtMost, EngineError, Sampling, open_engine
from ouvert.engine.build import build_digest
from ouvert.engine.steps import STEP_TOKENS
from ouvert.engine.weights_digest import WeightsDigest

# The native runner keeps keys and values in 16 bits, NumPy in 32: 0.04 at most was seen, where logits reach 20.
CLOSE = 0.1
GREEDY = Sampling(temperature=0, max_tokens=24, logprobs=3)


@pytest.fixture
def prompt():
    return np.random.default_rng(3).integers(0, 256, 40).tolist()


@pytest.fixture
def numpy_only(monkeypatch):
    monkeypatch.setattr(kernels, "available", lambda: False)


def answer(engine, ids, sampling=GREEDY):
    generation = engine.generate(ids, sampling)
    return list(generation), generation.stopped


def test_facts_are_those_of_the_file(speaking_model):
    opened = open_engine(speaking_model(), threads=1, context=100)
    weights = hashlib.sha256((speaking_model() / "model.safetensors").read_bytes()).hexdigest()
    facts = opened.engine.facts
    assert facts.weights_digest == f"sha256:{weights}"
    assert facts.threads == opened.threads == 1
    assert not facts.exact or facts.instruction_set == "numpy"
    assert (opened.engine.context, opened.trained_context, opened.family) == (100, 2048, "llama")
    assert opened.bytes == opened.parameters * 4
    opened.engine.close()


def test_numpy_runs_where_nothing_faster_can(speaking_model, numpy_only, prompt):
    opened = open_engine(speaking_model(), threads=1)
    facts = opened.engine.facts
    assert (facts.instruction_set, facts.cache_type, facts.exact, facts.threads) == ("numpy", "f32", True, 1)
    tokens, stopped = answer(opened.engine, prompt)
    assert len(tokens) == stopped.output_tokens == 24


def test_caches_are_kept_as_asked_for(speaking_model, prompt):
    answers = {}
    for cache in (None, "f16", "f32", "q8"):
        opened = open_engine(speaking_model(), threads=1, cache_type=cache)
        assert opened.cache_type == opened.engine.facts.cache_type == (cache or "f16")
        answers[cache] = answer(opened.engine, prompt)[0]
        opened.engine.close()
    assert answers[None] == answers["f16"]
    assert [token.id for token in answers["q8"]] == [token.id for token in answers["f32"]]
    assert [token.logprob for token in answers["q8"]] != [token.logprob for token in answers["f32"]]
    with pytest.raises(EngineError, match=r"cache_type='q4', expected one of f16, f32, q8\. Leave it out"):
        open_engine(speaking_model(), cache_type="q4")


def test_numpy_says_which_cache_it_has(speaking_model, numpy_only):
    assert open_engine(speaking_model(), cache_type="f32").cache_type == "f32"
    with pytest.raises(EngineError, match=r"cache_type='q8', but NumPy computes this model, and keeps .* in f32 only"):
        open_engine(speaking_model(), cache_type="q8")


def test_both_runners_agree_on_a_real_model(smollm2, monkeypatch):
    text = np.random.default_rng(5).integers(500, 20_000, 30).tolist()
    native = open_engine(smollm2, exact=True).engine
    fast = native.logits(text)
    native.close()
    monkeypatch.setattr(kernels, "available", lambda: False)
    plain = open_engine(smollm2).engine
    np.testing.assert_allclose(fast, plain.logits(text), atol=CLOSE)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(fast[1:], plain.logits(text)[:-1], atol=CLOSE)  # one position off is noticed
    plain.close()


def test_decoding_step_by_step_gives_the_logits_of_the_whole(speaking_model, numpy_only, prompt):
    engine = open_engine(speaking_model(), threads=1).engine
    tokens, _ = answer(engine, prompt)
    scored = engine.score([*prompt, *(token.id for token in tokens)])
    expected = [each.logprob for each in scored[len(prompt) - 1 :]]
    assert [each.logprob for each in tokens] == pytest.approx(expected, abs=1e-4)


def test_a_kept_prefix_changes_nothing_bit_for_bit(speaking_model):
    if not kernels.available():
        pytest.fail("the native runner is not built here: install with a C++20 compiler")
    random = np.random.default_rng(4)
    start = random.integers(0, 256, STEP_TOKENS + 30).tolist()
    kept, fresh = open_engine(speaking_model()).engine, open_engine(speaking_model()).engine
    answer(kept, start)
    for _ in range(4):
        prompt = [*start[: int(random.integers(1, len(start)))], *random.integers(0, 256, 9).tolist()]
        again, stopped = answer(kept, prompt)
        assert stopped.reused_tokens > 0
        assert again == answer(fresh, prompt)[0]  # tokens and log-probabilities alike
        answer(fresh, [255])  # so that it keeps nothing of use
    kept.close()
    fresh.close()


def test_what_cannot_be_honoured_is_refused(speaking_model):
    with pytest.raises(EngineError, match="threads=0"):
        open_engine(speaking_model(), threads=0)
    with pytest.raises(EngineError, match="context=1, expected 2 to 2048"):
        open_engine(speaking_model(), context=1)


def test_a_context_is_made_smaller_where_that_is_asked_for(speaking_model):
    for asked, held in ((None, 2048), (100, 100), (2049, 2048)):
        opened = open_engine(speaking_model(), context=None if asked is None else AtMost(asked))
        assert opened.engine.context == held
        opened.engine.close()
    with pytest.raises(EngineError, match="context=1, expected 2 to 2048"):
        open_engine(speaking_model(), context=AtMost(1))


def test_a_known_digest_is_not_computed_again(tmp_path):
    assert WeightsDigest([tmp_path / "absent"], "sha256:known").value() == "sha256:known"


def test_the_digest_of_several_files_names_each(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    lines = "".join(sorted(f"{hashlib.sha256(name.encode()).hexdigest()} {name}\n" for name in "ab"))
    expected = "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    assert WeightsDigest([tmp_path / "b", tmp_path / "a"]).value() == expected


def test_a_file_that_went_away_is_named(tmp_path):
    with pytest.raises(EngineError, match="absent"):
        WeightsDigest([tmp_path / "absent"]).value()


def test_a_window_that_has_let_go_starts_afresh(fake_runner, facts):
    from ouvert.engine import LocalEngine

    runner = fake_runner(16)
    engine = LocalEngine(runner, 64, facts)
    list(engine.generate([1, 2, 3, 4], Sampling(temperature=0, max_tokens=2)))
    runner.resume = lambda pages, length, capacity, variant: runner.new_sequence(capacity, variant)
    generation = engine.generate([1, 2, 9], Sampling(temperature=0, max_tokens=1))
    assert [token.id for token in generation] == [10]
    assert generation.stopped.reused_tokens == 0
    assert runner.steps[-1] == [(3, "last")]


def test_every_file_that_decides_an_answer_is_in_the_digest_of_the_build(tmp_path):
    for name in ("kernels/_native.so", "models/graph.py", "chat/builtin/a.jinja", "cli/run.py", "models/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    digests = [build_digest.__wrapped__((str(tmp_path),))]
    for name in ("kernels/_native.so", "models/graph.py", "chat/builtin/a.jinja"):
        (tmp_path / name).write_text("something else")
        digests.append(build_digest.__wrapped__((str(tmp_path),)))
    assert len(set(digests)) == 4
    for name in ("cli/run.py", "models/notes.txt"):
        (tmp_path / name).write_text("something else")
    assert build_digest.__wrapped__((str(tmp_path),)) == digests[-1]
