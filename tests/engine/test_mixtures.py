"""Models with routed experts through the engine: packed, in company, after a kept prefix, always the same answer."""

import threading
from pathlib import Path

import numpy as np
import pytest

from ouvert.engine import PackedFile, Sampling, open_engine
from ouvert.weights import sha256_of

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
SAMPLING = Sampling(temperature=0.9, seed=4, max_tokens=12)


@pytest.fixture(params=["mixtral", "mixtral-window", "qwen3_moe", "qwen3_moe-normalised"])
def model(request):
    return GOLDENS / request.param


def answer(engine, ids):
    return [(token.id, token.logprob) for token in engine.generate(ids, SAMPLING)]


def prompts(count):
    return np.random.default_rng(1).integers(0, 64, (count, 45)).tolist()


def test_company_prefixes_and_threads_change_no_bit_of_an_answer(model):
    asked = prompts(4)
    expected = []
    for ids in asked:  # each by an engine that has seen nothing else
        with_one_thread = open_engine(model, threads=1)
        expected.append(answer(with_one_thread.engine, ids))
        with_one_thread.engine.close()
    engine = open_engine(model, threads=3).engine
    answers = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: answer(engine, asked[n])})) for n in range(len(asked))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[n] for n in range(len(asked))] == expected
    again = engine.generate(asked[0], SAMPLING)
    assert [(token.id, token.logprob) for token in again] == expected[0]
    assert again.stopped.reused_tokens > 0
    engine.close()


def test_a_packed_file_gives_the_same_answer_as_packing_into_memory(model, tmp_path):
    [ids] = prompts(1)
    digest = sha256_of(model / "model.safetensors")
    packed = PackedFile(place=lambda layout: tmp_path / layout, source_digest=digest)
    answers = []
    for settings in ({}, *2 * ({"packed": packed, "weights_digest": digest},)):  # written, then read
        engine = open_engine(model, threads=1, **settings).engine
        answers.append(answer(engine, ids))
        engine.close()
    assert answers[0] == answers[1] == answers[2]
