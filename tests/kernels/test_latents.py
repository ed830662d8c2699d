"""Latent attention and what stands around it: the same bits however it is cut, smaller caches, and its pages."""

import numpy as np
import pytest

from ouvert import arithmetic, kernels
from ouvert.kernels import linear
from ouvert.models import LatentMemory

from .tiny import matrix

SETS = linear.available_instruction_sets()
VOCABULARY = 40
# (heads, latent, rope): around the lanes of a register, and DeepSeek-V3's own latents.
SIZES = [(1, 1, 2), (2, 15, 2), (3, 16, 4), (5, 17, 6), (16, 33, 8), (128, 512, 64)]
SMALL = (5, 17, 6)


class Model:
    """One layer of nothing but latent attention."""

    def __init__(self, heads, latent, rope, seed=0):
        random = np.random.default_rng(seed)

        def normal(*dims, scale=1.0):
            return (random.standard_normal(dims) * scale * dims[-1] ** -0.5).astype(np.float32)

        hidden = 24
        self.heads, self.width = heads, latent + rope
        self.weights = {
            "embedding": normal(VOCABULARY, hidden, scale=hidden**0.5),
            "nope": normal(heads * 3, hidden),
            "turning": normal(heads * rope, hidden, scale=2),
            "key": normal(heads, latent, 3, scale=2),
            "latent": normal(latent, hidden, scale=2),
            "position": normal(rope, hidden, scale=2),
            "value": normal(heads, 2, latent),
            "out": normal(hidden, heads * 2),
        }
        self.memories = [LatentMemory(self.width, latent)]
        self.rope = rope
        inverse = 100.0 ** -(np.arange(0, rope, 2) / rope)
        self.turns = arithmetic.Rope(inverse.astype(np.float32), 1.0)

    def forward(self, w, batch, ops):
        x = ops.embed(batch.ids, w["embedding"])
        sought = ops.linear_heads(ops.linear(x, w["nope"]), w["key"])
        turning = ops.rotate(ops.heads(ops.linear(x, w["turning"]), self.rope), batch.positions, self.turns)
        position = ops.rotate(ops.heads(ops.linear(x, w["position"]), self.rope), batch.positions, self.turns)
        remembered = ops.join(ops.linear(x, w["latent"]), position, 1)
        q = ops.heads(ops.join(sought, turning, self.heads), self.width)
        mixed = ops.attend_latent(q, remembered, batch.caches[0], scale=0.4)
        y = ops.select(x + ops.linear(ops.linear_heads(mixed, w["value"]), w["out"]), batch.wanted)
        return ops.linear(y, w["embedding"])

    def program(self, *, threads=2, cache="f32", **options):
        tracer = kernels.Tracer(exact=True, cache=cache)
        packed = {name: matrix(values, "F32") for name, values in self.weights.items()}
        return tracer.finish(self.forward(packed, tracer.begin(self.memories), tracer), threads=threads, **options)

    def logits(self, ids):
        ops = arithmetic.Ops(np.float64)
        placed = {name: values.astype(np.float64) for name, values in self.weights.items()}
        return self.forward(placed, ops.begin([(ops.new_cache(self.memories), ids)], "all"), ops)


def some_ids(count, seed=0):
    return np.random.default_rng(seed).integers(0, VOCABULARY, count).astype(np.int32)


def computed(program, ids, cut=None):
    sequence, rows, at = program.new_sequence(4096), [], 0
    for count in cut or [len(ids)]:
        rows.append(program.step([(sequence, ids[at : at + count])], "all"))
        at += count
    return sequence, np.concatenate(rows)


@pytest.mark.parametrize("cache", ["f16", "f32", "q8"])
@pytest.mark.parametrize("sizes", [SMALL, (16, 33, 8)], ids=str)
def test_bits_depend_on_no_cut_batch_thread_or_instruction_set(sizes, cache):
    model, ids = Model(*sizes), some_ids(330)
    program = model.program(cache=cache)
    _, whole = computed(program, ids)
    for cut in ([1] * 330, [63, 1, 1, 64, 201], [64, 64, 202], [257, 73]):
        np.testing.assert_array_equal(computed(program, ids, cut)[1], whole)
    others = [(program.new_sequence(99), some_ids(n, n)) for n in (1, 70)]
    sequence = program.new_sequence(400)
    together = program.step([others[0], (sequence, ids), others[1]], ["none", "all", "none"])
    np.testing.assert_array_equal(together, whole)
    for instruction_set in SETS:
        for threads in (1, 3):
            other = model.program(threads=threads, instruction_set=instruction_set, cache=cache)
            np.testing.assert_array_equal(computed(other, ids)[1], whole)


@pytest.mark.parametrize(("cache", "off"), [("f16", 3e-3), ("q8", 5e-2)])
def test_smaller_caches_lose_little(cache, off):
    """f16 keeps 11 bits; q8 is off by 1/254 of the largest of 32 neighbours. One layer passes that on as it is."""
    model, ids = Model(*SMALL), some_ids(300)
    expected = model.logits(ids)
    _, found = computed(model.program(cache=cache), ids)
    assert 0 < np.abs(found - expected).max() < off * np.abs(expected).max()


@pytest.mark.parametrize("cache", ["f16", "f32", "q8"])
def test_pages_are_shared_resumed_anywhere_and_travel_as_bytes(cache):
    model, ids = Model(*SMALL), some_ids(300)
    program, other = model.program(cache=cache), model.program(cache=cache)
    sequence, whole = computed(program, ids)
    pages = [sequence.page(n) for n in range(5)]
    data = [bytes(page.read()) for page in pages]
    travelled = [other.page_from(each) for each in data]
    for length in (300, 299, 256, 200, 64, 1):
        for where, held in ((program, pages), (other, travelled)):
            again = where.resume(held, length, 400)
            assert again.length == length
            if length < 300:
                np.testing.assert_array_equal(where.step([(again, ids[length:])], "all"), whole[length:])
            again.close()
    assert sequence.truncate(130) == 130
    np.testing.assert_array_equal(program.step([(sequence, ids[130:])], "all"), whole[130:])
    assert [bytes(page.read()) for page in pages] == data


def test_a_latent_is_kept_once():
    """Keys and values of as many heads would take 2 × 5 × 23 numbers a token."""
    model = Model(*SMALL)
    assert model.program(cache="f16").cache_bytes(64) == 64 * 32 * 2  # 23 numbers, in whole vectors of sixteen
    assert Model(128, 512, 64).program(cache="f16").cache_bytes(64) == 64 * 576 * 2
