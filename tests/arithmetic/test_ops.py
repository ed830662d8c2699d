"""The operations as one object: batches, pasts, placing; and taps."""

from dataclasses import dataclass

import numpy as np
import pytest

from ouvert import arithmetic


@dataclass
class Memory:
    kv_heads: int = 2
    head_dim: int = 4


@dataclass
class Parameter:
    kind: str
    values: np.ndarray

    def decode(self):
        return self.values

    def decode_expert(self, expert):
        return self.values[expert]


@pytest.fixture
def ops():
    return arithmetic.Ops()


def grow(ops, cache, tokens):
    """Let a cache of two layers take in so many tokens."""
    batch = ops.begin([(cache, np.zeros(tokens))])
    q = np.zeros((tokens, 2, 4), np.float32)
    for layer in batch.caches:
        ops.attend(q, q, q, layer, scale=1.0)
    return batch


def test_a_batch_knows_where_each_sequence_goes_on(ops):
    one, other = ops.new_cache([Memory()] * 2), ops.new_cache([Memory()] * 2)
    grow(ops, one, 3)
    batch = ops.begin([(one, [7, 8]), (other, [9])])
    assert batch.ids.tolist() == [7, 8, 9]
    assert batch.positions.tolist() == [3, 4, 0]
    assert batch.wanted.tolist() == [1, 2]
    assert len(batch.caches) == 2
    assert ops.begin([(one, [7, 8]), (other, [9])], "all").wanted.tolist() == [0, 1, 2]
    assert ops.begin([(one, [7, 8]), (other, [9])], "none").wanted.tolist() == []


def test_a_sequence_may_not_come_twice(ops):
    cache = ops.new_cache([Memory()])
    with pytest.raises(ValueError, match="a sequence appears twice"):
        ops.begin([(cache, [1]), (cache, [2])])


def test_an_interrupted_step_leaves_nothing_behind(ops):
    cache = ops.new_cache([Memory()] * 2)
    grow(ops, cache, 3)
    batch = ops.begin([(cache, [1, 2])])
    q = np.ones((2, 2, 4), np.float32)
    ops.attend(q, q, q, batch.caches[0], scale=1.0)  # and then something went wrong
    assert cache.length == 3
    assert ops.begin([(cache, [1])]).positions.tolist() == [3]
    assert cache.layers[0].length == 3


def test_weights_are_placed_in_the_wanted_type():
    values = np.ones((2, 3, 4), np.float32)
    ops = arithmetic.Ops(np.float64)
    assert ops.place(Parameter("linear", values[0])).dtype == np.float64
    experts = ops.place(Parameter("experts", values))
    assert experts[1].dtype == np.float64
    assert experts[1].shape == (3, 4)


def test_other_types_are_refused():
    with pytest.raises(ValueError, match=r"expected numpy\.float32 or numpy\.float64"):
        arithmetic.Ops(np.float16)


def test_a_recorder_keeps_what_was_asked_for():
    recorder = arithmetic.Recorder("layers.1.out", "logits")
    for n in range(2):
        recorder.inside(f"layers.{n}")("out", np.full(2, n))
    value = np.zeros(3)
    assert recorder("logits", value) is value
    value += 1
    assert recorder.values()["layers.1.out"].tolist() == [1, 1]
    assert recorder.values()["logits"].tolist() == [0, 0, 0]


def test_a_recorder_complains_about_what_never_came():
    recorder = arithmetic.Recorder("layers.9.out")
    recorder.inside("layers.0")("out", np.zeros(1))
    with pytest.raises(LookupError, match=r"never computed: layers.9.out \(near it: layers.0.out\)"):
        recorder.values()
