"""Prompts in the expanded form: what is kept, cut or resumed changes no token, and turns find each other again."""

import numpy as np
import pytest
from tests.engine.test_other_caches import BEGINNING, VOCABULARY, native_runner, numpy_runner

from ouvert.engine import LocalEngine, Sampling
from ouvert.engine.prefixes.disk import DiskPrefixes
from ouvert.engine.prefixes.page_files import PageFiles
from ouvert.engine.prefixes.tree import tokens_of
from ouvert.engine.request import expanded_tokens

RUNNERS = {
    "NumPy": lambda: numpy_runner("deepseek_v3"),
    "f16": lambda: native_runner("deepseek_v3"),
    "q8": lambda: native_runner("deepseek_v3", cache="q8"),
}


@pytest.fixture(params=RUNNERS)
def runner(request):
    return RUNNERS[request.param]


def answer(engine, prompt, first_turn, seed=1, tokens=20, written=()):
    sampling = Sampling(seed=seed, max_tokens=tokens, logprobs=0)
    generation = engine.generate(prompt, sampling, first_turn=first_turn, written=written)
    found = [(token.id, token.logprob) for token in generation]
    return found, generation.stopped


def test_a_request_alone_says_how_many_tokens_are_expanded():
    assert [expanded_tokens(*each) for each in ((0, 900), (255, 900), (600, 900), (900, 600), (-1, 5))] == [
        *(0, 0, 512, 512, 0)
    ]


@pytest.mark.parametrize("name", ["f16", "q8"])
@pytest.mark.parametrize("seed", range(2))
def test_answers_are_those_without_anything_kept(facts, name, seed):
    random = np.random.default_rng(seed)
    kept = LocalEngine(RUNNERS[name](), 4096, facts)
    reused = 0
    for _ in range(14):
        shared = BEGINNING[: random.integers(200, 700)]
        prompt = [*shared, *random.integers(0, VOCABULARY, random.integers(1, 100)).tolist()]
        first_turn, asked = int(random.choice([0, 300, len(prompt)])), int(random.integers(1000))
        found, stopped = answer(kept, prompt, first_turn, asked)
        alone, _ = answer(LocalEngine(RUNNERS[name](), 4096, facts), prompt, first_turn, asked)
        assert found == alone, "log-probabilities too, bit for bit"
        assert stopped.expanded_tokens == expanded_tokens(first_turn, len(prompt))
        reused += stopped.reused_tokens
    assert reused > 1500


def test_the_next_turn_finds_the_last_ones_answer(facts, runner):
    engine = LocalEngine(runner(), 4096, facts)
    found, stopped = answer(engine, BEGINNING[:600], 600)
    assert stopped.expanded_tokens == 512
    _, stopped = answer(engine, [*BEGINNING[:600], *(token for token, _ in found), 9, 9], 600)
    assert stopped.reused_tokens == 600 + len(found) - 1


def test_a_page_of_one_form_is_none_of_the_other(facts, runner):
    engine = LocalEngine(runner(), 4096, facts)
    answer(engine, BEGINNING[:600], 0)
    assert answer(engine, BEGINNING[:601], 601)[1].reused_tokens == 0
    assert answer(engine, BEGINNING[:620], 300)[1].reused_tokens == 256, "up to where both are expanded"


def test_an_answer_goes_on_behind_what_another_engine_wrote(facts):
    found, _ = answer(LocalEngine(native_runner("deepseek_v3"), 4096, facts), BEGINNING[:600], 600)
    other = LocalEngine(native_runner("deepseek_v3"), 4096, facts)
    rest, stopped = answer(other, BEGINNING[:600], 600, written=[token for token, _ in found[:7]])
    assert rest == found[7:]
    assert stopped.expanded_tokens == 512


def test_what_is_kept_on_disk_knows_the_form_and_can_be_forgotten(facts, tmp_path):
    def opened():
        disk = DiskPrefixes(PageFiles(tmp_path, quota=10**9), lambda: {"weights": "a"}, 64)
        return LocalEngine(native_runner("deepseek_v3"), 4096, facts, disk=disk)

    first = opened()
    found, _ = answer(first, BEGINNING[:640], 640)
    first.close()
    second = opened()
    assert answer(second, BEGINNING[:640], 0)[1].reused_tokens == 0
    again, stopped = answer(second, BEGINNING[:640], 640)
    assert again == found
    assert stopped.reused_tokens > 500
    second.forget(lambda ids: ids[:3] == BEGINNING[:3])
    assert answer(second, BEGINNING[:640], 640)[1].reused_tokens == 0
    second.close()


def test_keys_are_tokens_again():
    assert tokens_of([5 + (1 << 40), 7]) == [5, 7]


def test_a_model_without_latents_computes_as_without(facts):
    engine = LocalEngine(native_runner("qwen2"), 4096, facts)
    found, stopped = answer(engine, BEGINNING[:600], 600)
    assert stopped.expanded_tokens == 0
    assert found == answer(engine, BEGINNING[:600], 0)[0]
