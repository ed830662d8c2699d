"""What may be chosen, and how often, beside transformers' processors and llama.cpp's samplers; log-probabilities beside
torch's.

They compute in float32, we in whole numbers from float64. So a token at the very edge of a nucleus may be in for the
one and out for the other, and nothing else may differ.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import generation

from ouvert.arithmetic import sampling as plain
from ouvert.engine import Sampling
from ouvert.engine.sampler import Sampler, choose_all, report_all

spec = importlib.util.spec_from_file_location("llama_samplers", Path(__file__).with_name("llama_samplers.py"))
llama_samplers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(llama_samplers)

# Float32 logits up to 40 are 4e-6 apart, and the references round after every step.
TOLERANCE = 2e-5
# So near to the edge of a nucleus or of min-p, float32 sums of this many tokens may fall on the other side.
EDGE = 1e-5
WORDS = 2_000
PROMPT = [3, 3, 3, 17, 1999, 0, 17, 5]

FILTERS = [
    Sampling(),
    Sampling(temperature=0.3),
    Sampling(temperature=4.0),
    Sampling(top_k=1),
    Sampling(top_k=40),
    Sampling(top_p=0.5),
    Sampling(top_p=0.95),
    Sampling(min_p=0.05),
    Sampling(temperature=0.7, top_k=40, top_p=0.95),
    Sampling(temperature=2.5, top_k=300, top_p=0.9, min_p=0.01),
    Sampling(temperature=1.5, top_p=0.8, min_p=0.1),
]
REPETITION = [Sampling(repetition_penalty=1.3), Sampling(repetition_penalty=0.7, temperature=0.9, top_k=50, top_p=0.9)]
PENALTIES = [
    Sampling(presence_penalty=0.7),
    Sampling(frequency_penalty=0.4),
    Sampling(repetition_penalty=1.2, presence_penalty=-0.5, frequency_penalty=0.3, top_k=100),
    Sampling(logit_bias={7: 5.0, 3: -2.5}),
    Sampling(logit_bias={7: 5.0}, temperature=0.8, top_k=30, top_p=0.9, min_p=0.02),
]


def rows():
    random = np.random.default_rng(40)
    for spread in (0.5, 2.0, 5.0, 9.0):
        for _ in range(5):
            yield (random.standard_normal(WORDS) * spread).astype(np.float32)


def ours(asked, row):
    """Every token's chance, 0 for what may not be chosen, and the row after bias and penalties."""
    sampler = Sampler(asked, PROMPT, WORDS)
    ask, changes = np.array([sampler.ask()], plain.ASK)[0], sampler.changes()
    weighed = row if changes is None else plain.changed(row, ask, changes)
    shares = plain.kept_shares(weighed, ask)
    return shares / shares.sum(), weighed


def by_transformers(asked, row):
    steps = [
        generation.RepetitionPenaltyLogitsProcessor(asked.repetition_penalty),
        generation.TemperatureLogitsWarper(asked.temperature),
    ]
    if asked.top_k:
        steps.append(generation.TopKLogitsWarper(asked.top_k))
    if asked.top_p < 1:
        steps.append(generation.TopPLogitsWarper(asked.top_p))
    if asked.min_p:
        steps.append(generation.MinPLogitsWarper(asked.min_p))
    ids, scores = torch.tensor([PROMPT]), torch.from_numpy(row.copy())[None]
    for step in steps:
        scores = step(ids, scores)
    return torch.softmax(scores[0].double(), -1).numpy()


def by_llama_cpp(asked, row):
    left, _ = llama_samplers.Chain(asked, PROMPT, WORDS, draws=False).apply(row)
    chances = np.zeros(WORDS)
    logits = left["logit"].astype(np.float64)
    chances[left["id"]] = np.exp(logits - logits.max())
    return chances / chances.sum()


def edge_tokens(asked, weighed):
    """Words that float32 may take for a different side of an edge than it should."""
    shares = plain.shares(weighed, plain.LOG2_E / asked.temperature).astype(np.float64)
    order = plain.likeliest(weighed, asked.top_k or WORDS)
    before = np.cumsum(shares[order]) - shares[order]
    near = np.abs(before / shares[order].sum() - asked.top_p) < EDGE
    near |= np.abs(shares[order] / shares.max() - asked.min_p) < EDGE * asked.min_p
    return set(order[near].tolist())


def compare(asked, reference):
    edges = 0
    for row in rows():
        found, weighed = ours(asked, row)
        expected = reference(asked, row)
        different = set(np.flatnonzero((found > 0) != (expected > 0)).tolist())
        # What has less than half a unit of 2^-44 is never chosen by us, and has a chance of 1e-14 for them.
        different -= set(np.flatnonzero((found == 0) & (expected < 2.0**-44)).tolist())
        assert different <= edge_tokens(asked, weighed)
        edges += bool(different)
        both = (found > 0) & (expected > 1e-9)
        if not different:
            np.testing.assert_allclose(np.log(found[both]), np.log(expected[both]), atol=TOLERANCE * weighed.max())
    assert edges <= 2  # of 20 rows


@pytest.mark.parametrize("asked", FILTERS + REPETITION, ids=str)
def test_transformers_may_choose_the_same_as_often(asked):
    compare(asked, by_transformers)


@pytest.mark.parametrize("asked", FILTERS + REPETITION + PENALTIES, ids=str)
def test_llama_cpp_may_choose_the_same_as_often(asked):
    compare(asked, by_llama_cpp)


@pytest.mark.parametrize(
    ("asked", "mistaken"),
    [
        (Sampling(top_k=40), Sampling(top_k=41)),
        (Sampling(top_p=0.5), Sampling(top_p=0.501)),
        (Sampling(min_p=0.05), Sampling(min_p=0.051)),
        (Sampling(temperature=0.3), Sampling(temperature=0.3001)),
        (Sampling(repetition_penalty=1.3), Sampling(repetition_penalty=1.301)),
    ],
    ids=str,
)
def test_the_comparison_would_notice_a_slightly_different_rule(asked, mistaken):
    with pytest.raises(AssertionError):
        compare(asked, lambda _, row: by_transformers(mistaken, row))


def test_greedy_choices_are_those_of_llama_cpp():
    for asked in (Sampling(temperature=0), Sampling(temperature=0, repetition_penalty=1.4, logit_bias={11: 3.0})):
        for row in rows():
            (token,) = choose_all([row], [Sampler(asked, PROMPT, WORDS)], [None])
            assert token.id == llama_samplers.Chain(asked, PROMPT, WORDS, draws=True).choose(row)


@pytest.mark.parametrize("vocabulary", [1_000, 49_152, 201_088])
@pytest.mark.parametrize("spread", [0.5, 3.0, 10.0])
def test_logprobs_are_torchs(vocabulary, spread):
    logits = (np.random.default_rng(vocabulary).standard_normal((3, vocabulary)) * spread).astype(np.float32)
    tokens = [0, vocabulary // 2, vocabulary - 1]
    exact = torch.log_softmax(torch.from_numpy(logits).double(), -1)
    single = torch.log_softmax(torch.from_numpy(logits), -1)
    for row, token in enumerate(report_all(logits, tokens, 20)):
        best = torch.topk(exact[row], 20)
        assert [n for n, _ in token.top] == best.indices.tolist()
        assert [p for _, p in token.top] == pytest.approx(best.values.tolist(), abs=1e-8)
        assert token.logprob == pytest.approx(exact[row, tokens[row]].item(), abs=1e-8)
        assert token.logprob == pytest.approx(single[row, tokens[row]].item(), abs=2e-5)
