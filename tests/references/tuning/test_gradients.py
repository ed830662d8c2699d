"""Gradients by every number of an adapter: those of transformers with peft on the numbers that were packed."""

from dataclasses import replace

import numpy as np
import pytest

from ouvert import kernels, tuning
from ouvert.tuning import attention, operations

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),  # peft asks for it
    pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning"),  # peft looks among modules only
]

FAMILIES = ["llama", "qwen2", "qwen3", "qwen3_moe", "mixtral", "gpt_oss", "deepseek_v3"]
# float32 through a few layers against float64, of the norm of each matrix's gradient.
EXACT = 1e-5
# With activations in int8, as they are served: of the cosine between the two.
ROUNDED = 0.99


def our_gradients(subject, adapter=None):
    learner = tuning.GradientLearner(subject.base, adapter or subject.adapter)
    count = sum(len(ids) - 1 for ids in subject.sequences)

    def loss(found):
        gradients = [np.full(len(ids), -1 / count, np.float32) for ids in subject.sequences]
        for each in gradients:
            each[0] = 0
        return tuning.Loss(-sum(float(each.sum()) for each in found) / count, gradients)

    learner.learn(subject.sequences, loss)
    learner.close()
    return {name: each.grad.numpy() for name, each in learner.parameters.items()}


def distances(ours, theirs):
    assert ours.keys() == theirs.keys()
    return {name: np.linalg.norm(ours[name] - theirs[name]) / np.linalg.norm(theirs[name]) for name in ours}


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_peft(family, subjects, their_gradients):
    subject = subjects(family)
    found = distances(our_gradients(subject), their_gradients(subject))
    assert {name: far for name, far in found.items() if far >= EXACT} == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_through_activations_in_int8_point_the_same_way(family, subjects, their_gradients):
    subject = decided(subjects(family, exact=False), subjects(family))
    ours, theirs = our_gradients(subject), their_gradients(subject)
    one, other = (np.concatenate([each[name].ravel() for name in sorted(ours)]) for each in (ours, theirs))
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > ROUNDED


def decided(subject, exact):
    """The subject with the first sequences of which no token stands so near a tie that rounding gives it another
    expert: both gradients are right there, but they are of two functions."""
    for seed in range(500):
        random = np.random.default_rng(seed)
        sequences = [random.integers(0, 64, len(ids), dtype=np.int32) for ids in subject.sequences]
        if np.array_equal(experts_of(subject, sequences), experts_of(exact, sequences)):
            return replace(subject, sequences=sequences)
    raise AssertionError("rounding changes an expert in each of 500 draws")


def experts_of(subject, sequences):
    """The chosen experts of all tokens and layers, in ascending order."""
    count = len(subject.base.model.parameters.layers)
    names = [f"layers.{n}.experts.chosen" for n in range(count) if experts_in(subject.base.model, n)]
    program = subject.base.programs.sibling(names, adapted=subject.adapter.pairs)
    work = [(program.new_sequence(len(ids)), ids) for ids in sequences]
    for sequence, _ in work:
        sequence.adapters = [kernels.Adapters(subject.adapter.pairs)]
    program.step(work, "none")
    return [np.sort(program.seen(name)) for name in names]


def experts_in(model, n):
    return getattr(model.parameters.layers[n], "experts", None) is not None


# A mistake in the way back, and a family in which it shows.
MISTAKES = {
    "scale forgotten": ("llama", operations.TorchOps, "_pair", lambda right: lambda *given: (*right(*given)[:2], 1.0)),
    "window off by one": ("qwen2", attention, "attend", lambda right: lambda *given, window, **how: right(
        *given, window=window and window + 1, **how)),
    "sink left out": ("gpt_oss", attention, "attend", lambda right: lambda *given, sinks, **how: right(
        *given, sinks=None, **how)),
    "biases left out": ("qwen2", operations, "frozen_linear", lambda right: lambda x, weight: right(
        x, replace(weight, bias=None))),
    "B untransposed": ("qwen3", operations, "Carrying", lambda right: lambda product, bias, a, b, scale: right(
        product, bias, a, b.T.reshape(b.shape), scale)),
    "another expert": ("mixtral", operations.TorchOps, "_chosen", lambda right: lambda ops, scores, top_k: right(
        ops, scores, top_k).roll(1, 0)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_way_back_is_noticed(mistake, subjects, their_gradients, monkeypatch):
    family, owner, name, wrong = MISTAKES[mistake]
    subject = subjects(family)
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    assert max(distances(our_gradients(subject), their_gradients(subject)).values()) > 1000 * EXACT
