"""The learner: what gradients must be whatever the order of work, and that something is learnt."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ouvert import engine, models, tuning
from ouvert.arithmetic import as_mxint8
from ouvert.kernels import Products
from ouvert.tuning import attention, gradient
from ouvert.tuning.feed_forward import FeedForward, feed_forward
from ouvert.tuning.layers import Kept, Layers
from ouvert.tuning.operations import Adapted, Past
from ouvert.tuning.pack import pieces_of
from ouvert.tuning.products import Carrying, DenseProduct, frozen_linear
from ouvert.tuning.recipe import AdapterShape
from ouvert.tuning.stored import as_served

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
LLAMA = GOLDENS / "llama" / "model.safetensors"
SHAPE = AdapterShape(rank=4, alpha=8, experts="all", expert_rank=2)
LENGTHS = (5, 19, 2, 11, 30, 7)


def sequences_of(base, lengths=LENGTHS):
    random = np.random.default_rng(3)
    return [random.integers(0, base.model.config.vocab_size, length, dtype=np.int32) for length in lengths]


def mean_of(sequences, count=None):
    """The mean negative log-probability of all tokens but the first; `count`: of how many, if not of these alone."""
    count = count or sum(len(ids) - 1 for ids in sequences)

    def loss(found):
        gradients = [np.full(len(ids), -1 / count, np.float32) for ids in sequences]
        for each in gradients:
            each[0] = 0
        return tuning.Loss(-sum(float(each.sum()) for each in found) / count, gradients)

    return loss


def begun(base, seed=20):
    """An adapter whose every number counts: b is not zero."""
    adapter = tuning.new_adapter(base.model, SHAPE, seed)
    random = np.random.default_rng(seed)
    for pair in adapter.pairs.values():
        pair.b[:] = random.normal(0, 0.1, pair.b.shape)
    return adapter


def gradients_of(path, sequences_in_calls=None, *, threads=2, **how):
    base = tuning.open_base(path, threads=threads)
    learner = tuning.GradientLearner(base, begun(base), **how)
    sequences = sequences_of(base)
    for some in sequences_in_calls or [range(len(sequences))]:
        learner.learn([sequences[n] for n in some], mean_of([sequences[n] for n in some], sum(LENGTHS) - len(LENGTHS)))
    found = {name: each.grad.numpy().copy() for name, each in learner.parameters.items() if each.grad is not None}
    learner.close()
    base.close()
    return found


def numbers(*shapes):
    random = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes]


def carrying(out, inner):
    weight, a, b = numbers((out, inner), (2, inner), (out, 2))
    return Carrying(DenseProduct(weight), None, a.requires_grad_(), b.requires_grad_(), 0.7)


def test_a_product_with_its_adapter_has_the_slope_that_torch_measures():
    x, bias = numbers((3, 7), (5,))
    weight = replace(carrying(5, 7), bias=bias)

    def product(x, a, b):
        return frozen_linear(x, replace(weight, a=a, b=b))

    assert torch.autograd.gradcheck(product, (x.requires_grad_(), weight.a, weight.b))
    assert torch.autograd.gradcheck(lambda x: frozen_linear(x, replace(weight, a=None, b=None)), (x,))


@pytest.mark.parametrize("tokens", [3, 128, 131])
def test_a_feed_forward_layer_has_the_slope_that_torch_measures(tokens):
    (x,) = numbers((tokens, 4))
    layer = FeedForward(carrying(6, 4), carrying(6, 4), carrying(4, 6), unread=False)
    weights = (layer.gate, layer.up, layer.down)
    pairs = [each for weight in weights for each in (weight.a, weight.b)]

    def product(x, *pairs):
        parts = [replace(w, a=a, b=b) for w, a, b in zip(weights, pairs[::2], pairs[1::2], strict=True)]
        return feed_forward(x, FeedForward(*parts, unread=False))

    assert torch.autograd.gradcheck(product, (x.requires_grad_(), *pairs), fast_mode=tokens > 3)


@pytest.mark.parametrize("window", [None, 3])
def test_attention_has_the_slope_that_torch_measures(window):
    q, k, v, sinks = (each.requires_grad_() for each in numbers((10, 4, 3), (10, 2, 3), (10, 2, 2), (4,)))

    def attend(q, k, v, sinks):
        return attention.attend(q, k, v, scale=0.6, window=window, sinks=sinks)

    assert torch.autograd.gradcheck(attend, (q, k, v, sinks))


@pytest.mark.parametrize("family", ["llama", "gpt_oss-mxfp4", "deepseek_v3"])
@pytest.mark.parametrize("threads", [2, 3])
def test_gradients_are_the_same_bits_for_any_number_of_threads(threads, family):
    """Each sequence is in a bin of its own, so that several go side by side."""
    path = GOLDENS / family / "model.safetensors"
    alone, beside = (gradients_of(path, threads=count, packed_together=False) for count in (1, threads))
    assert alone.keys() == beside.keys()
    assert all(np.array_equal(alone[name], beside[name]) for name in alone)


def test_what_fails_in_one_bin_is_what_is_told(monkeypatch):
    begin = Layers.begin

    def fails(layers, ops, ids):
        if len(ids[0]) == 11:
            raise MemoryError("no room for eleven tokens")
        return begin(layers, ops, ids)

    monkeypatch.setattr(Layers, "begin", fails)
    with pytest.raises(MemoryError, match="eleven"):
        gradients_of(LLAMA, threads=3, packed_together=False)


@pytest.mark.parametrize("threads", [1, 2])
def test_between_layers_somebody_may_wait_or_end_it(threads):
    base = tuning.open_base(LLAMA, threads=threads)
    learner = tuning.GradientLearner(base, begun(base), packed_together=False)
    sequences, layers, came = sequences_of(base), len(base.model.parameters.layers), []
    learner.between = lambda: came.append(None)
    learner.learn(sequences, mean_of(sequences))
    each = 3 + layers  # before it, behind its way up, before its way back, and behind each layer of that
    assert len(came) == len(sequences) * each
    learner.log_probabilities(sequences)
    assert len(came) == len(sequences) * (each + 2)

    def stop():
        if len(came) == len(sequences) * (each + 2 + 3) + 1:  # behind the first layer of a way back
            raise tuning.StopAskedError
        came.append(None)

    learner.between = stop
    with pytest.raises(tuning.StopAskedError):
        learner.learn(sequences, mean_of(sequences))
    learner.close()
    base.close()


@pytest.mark.parametrize("family", ["llama", "mixtral-window", "deepseek_v3"])
def test_in_pieces_it_is_the_same_to_the_bit(monkeypatch, family):
    path = GOLDENS / family / "model.safetensors"
    whole, asked = gradients_of(path), []
    monkeypatch.setattr(gradient, "PIECE_TOKENS", 7)
    begin = gradient.GradientLearner.__init__

    def polite(self, *args, **kind):
        begin(self, *args, **kind)
        self.between = lambda: asked.append(None)

    monkeypatch.setattr(gradient.GradientLearner, "__init__", polite)
    pieces = gradients_of(path)
    assert len(asked) > sum(LENGTHS) // 7
    assert all(np.array_equal(whole[name], pieces[name]) for name in whole)


def test_pieces_have_all_tokens_in_their_order():
    assert pieces_of([5, 1, 8], 4) == [[(0, 0, 4)], [(0, 4, 5), (1, 0, 1), (2, 0, 2)], [(2, 2, 6)], [(2, 6, 8)]]
    assert pieces_of([5, 1], 9) == [[(0, 0, 5), (1, 0, 1)]]


def test_it_learns():
    base = tuning.open_base(LLAMA, threads=2)
    learner = tuning.GradientLearner(base, tuning.new_adapter(base.model, SHAPE, 20))
    sequences = sequences_of(base)
    optimiser = torch.optim.AdamW(learner.parameters.values(), lr=0.02)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        losses.append(learner.learn(sequences, mean_of(sequences)).value)
        optimiser.step()
    assert losses[-1] < losses[0] - 0.5
    assert not learner.adapter.changes_nothing


def forward_of(layers, ids):
    """The forward pass in PyTorch, of which only what enters each layer is kept."""
    ops = layers.operations(Products(1))
    with torch.no_grad():
        batch = layers.begin(ops, ids)
        stream = [ops.embed(batch.ids, layers.model.parameters.embedding)]
        for run in layers.model.layers(batch, ops):
            stream.append(run(stream[-1]))
    return Kept(ids, [each.numpy() for each in stream], [None] * layers.count)


def at_once(layers, ids, top):
    """Gradients by every pair, of all layers as one graph of PyTorch's."""
    ops = layers.operations(Products(1))
    batch = layers.begin(ops, ids)
    x = ops.embed(batch.ids, layers.model.parameters.embedding)
    for run in layers.model.layers(batch, ops):
        x = run(x)
    leaves = [each for pair in ops.leaves.values() for each in pair]
    found = torch.autograd.grad(x, leaves, top)
    return dict(zip(ops.leaves, zip(found[::2], found[1::2], strict=True), strict=True))


def same(told, scores, loss):
    """The loss, of log-probabilities that are these."""
    for found, score in zip(told, scores, strict=True):
        np.testing.assert_array_equal(found, score)
    return loss(told)


FAMILIES = [
    "llama",
    "qwen2-window",
    "qwen3",
    "qwen3_moe",
    "mixtral-window",
    "gpt_oss-mxfp4",
    "deepseek_v2",
    "deepseek_v3",
]


@pytest.mark.parametrize("family", FAMILIES)
def test_layer_by_layer_is_the_whole_graph_at_once_bit_for_bit(family):
    base = tuning.open_base(GOLDENS / family / "model.safetensors", threads=1)
    pairs = begun(base).pairs
    layers = Layers(
        models.carrying(base.model, lambda name, weight: adapted(name, weight, pairs[name])), 0, exact=False
    )
    ids = sequences_of(base)
    top = torch.randn(sum(LENGTHS), base.model.config.hidden_size, generator=torch.Generator().manual_seed(1))
    found = {}
    for _, of_layer in layers.gradients(forward_of(layers, ids), top, Products(1)):
        found |= of_layer
    expected = at_once(layers, ids, top)
    assert found.keys() == expected.keys()
    assert all(torch.equal(ours, whole) for key in found for ours, whole in zip(found[key], expected[key], strict=True))
    base.close()


def adapted(name, weight, pair):
    return Adapted(weight, name, torch.from_numpy(pair.a), torch.from_numpy(pair.b), pair.scale, pair.experts)


# Sums in another order: of the norm of each matrix's gradient. In float32 that would be 1e-6; but gradients are rounded
# to 16 bits on their way, and what differs a little before is rounded differently: by up to 1e-4, mostly much less.
ORDER = 5e-5


def distance(some, others):
    assert some.keys() == others.keys()
    return max(np.linalg.norm(some[name] - others[name]) / np.linalg.norm(others[name]) for name in some)


@pytest.mark.parametrize("family", ["llama", "mixtral-window", "gpt_oss-mxfp4", "deepseek_v3"])
def test_sequences_learn_the_same_together_and_alone(family):
    """In one bin or in bins of their own, in one call or in several: nobody sees another."""
    path = GOLDENS / family / "model.safetensors"
    together = gradients_of(path)
    assert distance(gradients_of(path, packed_together=False), together) < ORDER
    assert distance(gradients_of(path, [[0], [3, 1, 5], [2, 4]]), together) < ORDER


def test_who_sees_another_would_be_noticed(monkeypatch):
    together = gradients_of(LLAMA)
    monkeypatch.setattr(Layers, "begin", lambda layers, ops, ids: ops.begin([np.concatenate(ids)], [[Past(), Past()]]))
    assert distance(gradients_of(LLAMA), together) > 1000 * ORDER


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_the_servers_bit_for_bit(family):
    """Those that the loss is made of, with the adapter and without; of all tokens, and of those that are looked at."""
    path = GOLDENS / family / "model.safetensors"
    base = tuning.open_base(path, threads=2)
    learner = tuning.GradientLearner(base, begun(base))
    sequences = sequences_of(base)
    wanted = [np.arange(len(ids)) % 3 == 1 for ids in sequences]
    served = engine.open_engine(path, threads=1).engine
    with_adapter = engine.Variant((engine.ScaledAdapter(served.adapters.add(learner.adapter)),))
    for adapted, variant in ((False, engine.BASE), (True, with_adapter)):
        scores = [[0, *(each.logprob for each in served.score(ids.tolist(), variant=variant))] for ids in sequences]
        found, some = (learner.log_probabilities(sequences, adapted=adapted, wanted=each) for each in (None, wanted))
        for score, every, few, which in zip(scores, found, some, wanted, strict=True):
            np.testing.assert_array_equal(every, score)
            np.testing.assert_array_equal(few, np.where(which, every, 0))
    learner.learn(sequences, lambda told: same(told, scores, mean_of(sequences)))
    served.close()
    learner.close()
    base.close()


# --- numbers that are served rounded ---


def stepped(precision, threads=2, rate=1e-6):
    """One step of a learner: the masters' bits, the served ones, the gradients."""
    base = tuning.open_base(LLAMA, threads=threads)
    learner = tuning.GradientLearner(base, begun(base), precision=precision)
    sequences = sequences_of(base)
    learner.learn(sequences, mean_of(sequences))
    gradients = {name: each.grad.numpy().copy() for name, each in learner.parameters.items()}
    torch.optim.SGD(learner.parameters.values(), lr=rate).step()
    masters = {name: each.detach().numpy().copy() for name, each in learner.parameters.items()}
    served = learner.adapter
    learner.close()
    base.close()
    return masters, served, gradients


def as_torch_rounds(numbers):
    return torch.from_numpy(numbers).bfloat16().float().numpy()


@pytest.mark.parametrize(("precision", "rounded"), [("bf16", as_torch_rounds), ("mxint8", as_mxint8)])
def test_few_bits_are_served_and_thirty_two_learn(precision, rounded):
    """A step far smaller than one of what is served moves the masters, and what is served is their rounding."""
    base = tuning.open_base(LLAMA, threads=1)
    before = begun(base)
    base.close()
    masters, served, gradients = stepped(precision)
    for name, pair in served.pairs.items():
        for of in "ab":
            master, first = masters[f"{name}.{of}"], getattr(before.pairs[name], of)
            np.testing.assert_array_equal(master, first - np.float32(1e-6) * gradients[f"{name}.{of}"])
            np.testing.assert_array_equal(getattr(pair, of), rounded(master))
            assert not np.array_equal(master, getattr(pair, of))


@pytest.mark.parametrize("rounding", ["bf16", "mxint8"])
def test_the_gradients_are_those_of_the_numbers_that_are_served(rounding):
    """Straight through: as of an adapter that has the rounded numbers; other than those of the masters."""
    base = tuning.open_base(LLAMA, threads=2)
    sequences, first = sequences_of(base), begun(base)

    def gradients(adapter, precision):
        learner = tuning.GradientLearner(base, adapter, precision=precision)
        learner.learn(sequences, mean_of(sequences))
        found = {name: each.grad.numpy().copy() for name, each in learner.parameters.items()}
        learner.close()
        return found

    ours = gradients(first, rounding)
    rounded, exact = gradients(as_served(first, rounding), "float32"), gradients(first, "float32")
    assert all(np.array_equal(ours[name], rounded[name]) for name in ours)
    assert not all(np.array_equal(ours[name], exact[name]) for name in ours)
    base.close()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("precision", ["bf16", "mxint8"])
def test_rounded_numbers_are_the_same_for_any_number_of_threads(threads, precision):
    assert stepped(precision, threads)[1].digest == stepped(precision, 2)[1].digest


@pytest.mark.parametrize("precision", ["bf16", "mxint8"])
def test_what_is_learnt_in_few_bits_is_what_the_server_says_bit_for_bit(precision):
    base = tuning.open_base(LLAMA, threads=2)
    learner = tuning.GradientLearner(base, begun(base), precision=precision)
    sequences = sequences_of(base)
    served = engine.open_engine(LLAMA, threads=1).engine
    variant = engine.Variant((engine.ScaledAdapter(served.adapters.add(learner.adapter)),))
    scores = [[0, *(each.logprob for each in served.score(ids.tolist(), variant=variant))] for ids in sequences]
    learner.learn(sequences, lambda told: same(told, scores, mean_of(sequences)))
    served.close()
    learner.close()
    base.close()
