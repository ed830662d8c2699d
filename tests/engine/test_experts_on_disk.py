"""A mixture of experts larger than the memory it may take: the same answers, and what was read is told."""

import threading
from pathlib import Path

import numpy as np
import pytest

from ouvert import kernels
from ouvert.engine import EngineError, EngineFailedError, PackedFile, Sampling, least_plan, open_engine
from ouvert.engine.fit import BESIDES, Demand, Machine, demand_of_files
from ouvert.engine.memory_plan import forecast_from_disk, plan_memory, plan_within
from ouvert.weights import sha256_of

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
SAMPLING = Sampling(temperature=0.9, seed=4, max_tokens=12)
CONTEXT = 64


@pytest.fixture(params=["deepseek_v3", "gpt_oss-mxfp4", "mixtral", "qwen3_moe"])
def model(request):
    return GOLDENS / request.param


@pytest.fixture
def opened(model, tmp_path):
    """opened(memory=...) -> the model over a packed file of this test's own. Engines are closed at the end."""
    engines = []
    digest = sha256_of(model / "model.safetensors")
    packed = PackedFile(place=lambda layout: tmp_path / layout, source_digest=digest)

    def opened(**settings):
        settings = {"packed": packed, "weights_digest": digest, "threads": 1, "context": CONTEXT, **settings}
        made = open_engine(model, **settings)
        engines.append(made.engine)
        return made

    yield opened
    for engine in engines:
        engine.close()


@pytest.fixture
def least(model):
    """As little memory as it can do with."""
    return least_plan(demand_of_files(model), CONTEXT).memory


def answer(engine, ids):
    return [(token.id, token.logprob) for token in engine.generate(ids, SAMPLING)]


def prompts(count):
    return np.random.default_rng(1).integers(0, 64, (count, 45)).tolist()


def test_answers_are_the_same_in_company_and_after_a_kept_prefix(opened, least):
    asked = prompts(4)
    expected = [answer(opened().engine, ids) for ids in asked]
    made = opened(memory=least, threads=2)
    assert made.memory_plan.memory <= least
    answers = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: answer(made.engine, asked[n])}))
        for n in range(len(asked))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[n] for n in range(len(asked))] == expected
    again = made.engine.generate(asked[0], SAMPLING)
    assert [(token.id, token.logprob) for token in again] == expected[0]


def test_what_was_read_is_told_of_the_answer_and_of_the_engine(opened, least):
    in_memory = opened().engine.generate(prompts(1)[0], SAMPLING)
    assert list(in_memory)
    assert in_memory.stopped.experts is None
    engine = opened(memory=least).engine
    assert engine.load.experts.read_bytes == 0
    generation = engine.generate(prompts(1)[0], SAMPLING)
    assert list(generation)
    use = generation.stopped.experts
    assert use.read_bytes == engine.load.experts.read_bytes > 0
    assert use.lookups == pytest.approx(engine.load.experts.lookups)
    assert 0 <= use.hit_rate < 1


def test_two_answers_share_what_their_steps_read(opened, least):
    engine = opened(memory=least).engine
    generations = [engine.generate(ids, SAMPLING) for ids in prompts(2)]
    for generation in generations:
        assert list(generation)
    total = engine.load.experts
    shares = [generation.stopped.experts for generation in generations]
    assert sum(each.read_bytes for each in shares) == pytest.approx(total.read_bytes, abs=200)
    assert sum(each.hits for each in shares) == pytest.approx(total.hits)


def test_an_expert_that_cannot_be_read_ends_the_answer_with_the_file_s_name(opened, least, monkeypatch, tmp_path):
    engine = opened(memory=least).engine
    assert answer(engine, prompts(1)[0])
    [path] = tmp_path.iterdir()
    monkeypatch.setattr(kernels.ExpertCache, "lost", True)
    with pytest.raises(EngineFailedError, match=rf"{path}.*could not be read.*made again"):
        answer(engine, prompts(1)[0])
    assert not path.exists()  # it is derived


def test_a_model_that_fits_or_has_no_experts_is_all_in_memory(opened, least, speaking_model):
    assert opened(memory=10**10).memory_plan is None
    with pytest.raises(EngineError, match=r"no experts that could stay on disk.*smaller model"):
        open_engine(speaking_model(), memory=1000)


def test_less_than_the_least_is_refused_with_both_numbers(opened, least, model):
    demand = demand_of_files(model)
    allowed = demand.weights - 1
    with pytest.raises(EngineError, match=rf"{demand.weights / 1e9:.2f} GB.*needs {least / 1e9:.2f} GB"):
        opened(memory=allowed)


def test_experts_are_read_from_a_packed_file_that_is_kept_and_from_no_other_place(opened, least):
    with pytest.raises(EngineError, match=r"packed file only"):
        opened(memory=least, packed=None)


def test_of_the_machines_memory_nine_tenths_are_divided(model):
    demand = demand_of_files(model)
    too_little = int((demand.weights + BESIDES) / 0.9)  # no caches
    plan = plan_within(demand, None, too_little, CONTEXT)
    assert plan.memory <= 0.9 * too_little
    assert plan_within(demand, None, 10**10, CONTEXT) is None
    assert plan_within(demand, None, None, CONTEXT) is None
    assert plan_within(demand, None, 1000, CONTEXT) is None  # opened all the same: nobody said how much it may take


def test_a_forecast_is_bytes_over_the_speeds_that_were_measured():
    machine = Machine(memory=10**10, bandwidth=20e9, multiply_adds=100e9, threads=2, allowed=4_300_000_000)
    demand = Demand(
        weights=13_000_000_000,
        read_per_token=2_500_000_000,
        active=4_000_000_000,
        cache=lambda tokens: 0,
        experts=10_000_000_000,
        experts_per_token=500_000_000,
        largest_expert=10_000_000,
        looked_up=1_000_000_000,
    )
    plan = plan_memory(demand, machine.room, 100)
    assert (plan.resident, plan.experts) == (2_000_000_000, 2_000_000_000)
    seen = forecast_from_disk(demand, machine, 1e9, 100)
    assert seen.hit_rate == 0.2
    assert seen.read_per_token == 400_000_000
    low, high = seen.decode
    assert high == pytest.approx(1 / 0.4)  # computing is hidden behind reading
    assert low == pytest.approx(1 / (0.4 / 0.9 + 2.5e9 / (0.55 * 20e9)))
    better = forecast_from_disk(demand, machine, 1e9, 100, hit_rate=0.9)
    assert better.read_per_token == 50_000_000
    assert better.decode[0] > high
    assert forecast_from_disk(demand, Machine(memory=10**12, bandwidth=1, multiply_adds=1, threads=1), 1e9, 9) is None
