"""Programs against arithmetic.Ops over the same graph, and what surrounds a step."""

from pathlib import Path

import numpy as np
import pytest

from ouvert import arithmetic, kernels, models, packed, tokenization, weights
from ouvert.kernels.linear import available_instruction_sets
from ouvert.models.shapes import key_value_bytes

from .tiny import (
    GPT_OSS,
    LLAMA,
    MISTRAL,
    QWEN3,
    SHAPES,
    VOCABULARY,
    for_arithmetic,
    in_arithmetic,
    matrix,
    program,
    some_ids,
    tiny,
)

STORY = (
    "The lighthouse keeper wrote in his journal every evening, noting the weather, the passing ships and the colour "
    "of the sea. On the first of March the fog came in so thick that he could not see his own hand."
)
GOLDENS = Path(__file__).parents[1] / "goldens" / "models"

# A few layers of float32 sums, each within a few units in the last place, on logits of size one to ten.
FLOAT32 = {"rtol": 2e-4, "atol": 2e-4}


def logits(built, ids, wanted="all"):
    sequence = built.new_sequence(len(ids))
    rows = built.step([(sequence, ids)], wanted)
    sequence.close()
    return rows


def divergence(reference, found):
    """Mean Kullback-Leibler divergence of rows of logits, in nats."""

    def log_shares(scores):
        wide = scores.astype(np.float64) - scores.max(-1, keepdims=True)
        return wide - np.log(np.exp(wide).sum(-1, keepdims=True))

    p, q = log_shares(reference), log_shares(found)
    return float((np.exp(p) * (p - q)).sum(-1).mean())


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("instruction_set", available_instruction_sets())
def test_with_float32_activations_it_is_arithmetic(name, instruction_set):
    placed, ids = tiny(SHAPES[name]), some_ids(90)
    built = program(placed, exact=True, cache="f32", instruction_set=instruction_set)
    np.testing.assert_allclose(logits(built, ids), in_arithmetic(placed, ids), **FLOAT32)


@pytest.mark.parametrize("name", SHAPES)
def test_with_int8_activations_it_is_close(name):
    placed, ids = tiny(SHAPES[name]), some_ids(90)
    found, reference = logits(program(placed), ids), in_arithmetic(placed, ids)
    # 8 bits a value, 1/254 of the largest of 32: about half a percent of each product's size.
    assert divergence(reference, found) < 2e-3
    assert divergence(reference, np.roll(reference, 1, axis=1)) > 0.1  # what being wrong looks like


@pytest.mark.parametrize("name", SHAPES)
def test_an_eight_bit_cache_costs_little(name):
    placed, ids = tiny(SHAPES[name]), some_ids(90)
    found = logits(program(placed, exact=True, cache="q8"), ids)
    # Activations are rounded the same way, and there are more of them.
    assert divergence(in_arithmetic(placed, ids), found) < 2e-3


def test_the_tolerance_would_notice_a_forgotten_sink():
    with_sinks, ids = tiny(GPT_OSS), some_ids(90)
    without = tiny(GPT_OSS)
    without.weights["0.sinks"] = None
    built = program(without, exact=True, cache="f32")
    assert not np.allclose(logits(built, ids), in_arithmetic(with_sinks, ids), **FLOAT32)


def test_smollm2_diverges_little_from_float32(smollm2):
    with weights.open_checkpoint(smollm2) as checkpoint:
        ids = np.array(tokenization.tokenizer_from_gguf(checkpoint.metadata).encode(STORY), np.int32)
        ops = arithmetic.Ops(np.float32)
        model = models.load(checkpoint, ops)
        reference = model.forward(ops.begin([(ops.new_cache(model.memories), ids)], "all"), ops)
        for exact, bound in ((False, 0.01), (True, 1e-6)):
            tracer = kernels.Tracer(exact=exact)
            built = kernels.build(tracer, models.load(checkpoint, packed.InMemory()), threads=2)
            # Measured 0.003 with int8 activations. Float16 caches alone cost about 1e-8.
            assert divergence(reference, logits(built, ids)) < bound


# --- fusing and watching ---

WATCHED = [
    "embedding", "layers.0.attention.q", "layers.0.attention.k", "layers.0.attention.mixed", "layers.0.attention.out",
    "layers.0.mlp.inner", "layers.0.mlp.out", "layers.0.out", "layers.1.attention.out", "layers.1.mlp.out",
    "layers.1.out", "norm", "logits",
]  # fmt: skip


@pytest.mark.parametrize("shape", [LLAMA, QWEN3, MISTRAL])
def test_watching_changes_no_bit(shape):
    placed, ids = tiny(shape), some_ids(75)
    plain = logits(program(placed), ids)
    for names in [*([name] for name in WATCHED), WATCHED]:
        np.testing.assert_array_equal(logits(program(placed, watch=names), ids), plain)


@pytest.mark.parametrize("wanted", ["all", "last", "none"])
def test_what_is_seen_is_what_arithmetic_sees(wanted):
    placed, ids = tiny(LLAMA), some_ids(40)
    names = [name for name in WATCHED if name not in ("norm", "logits")]
    built = program(placed, exact=True, cache="f32", watch=names)
    logits(built, ids, wanted)
    tracer, ops = arithmetic.Recorder(*names), arithmetic.Ops(np.float64)
    reference = for_arithmetic(placed)
    reference.forward(ops.begin([(ops.new_cache(placed.memories), ids)], "all"), ops, tracer)
    for name, values in tracer.values().items():
        np.testing.assert_allclose(built.seen(name), values.reshape(len(ids), -1), **FLOAT32)


def test_watching_experts_changes_no_bit():
    placed, ids = tiny(GPT_OSS), some_ids(30)
    names = ["layers.0.experts.scores", "layers.0.experts.chosen", "layers.1.mlp.out", "layers.1.out"]
    built = program(placed, watch=names)
    np.testing.assert_array_equal(logits(built, ids), logits(program(placed), ids))
    scores, chosen = built.seen(names[0]), built.seen(names[1])
    np.testing.assert_array_equal(chosen, arithmetic.route_top_k(scores, GPT_OSS.top_k)[0])


def test_a_name_that_never_comes_is_an_error():
    with pytest.raises(LookupError, match=r"layers\.7\.out"):
        program(tiny(LLAMA), watch=["layers.7.out"])
    with pytest.raises(LookupError, match=r"layers\.0\.out is not watched"):
        program(tiny(LLAMA)).seen("layers.0.out")


def test_a_layer_takes_few_instructions():
    """The everyday path is fused."""
    built = program(tiny(LLAMA))
    kinds = built.kinds
    layer = [
        "rms_norm", "linear", "rotate, append", "attend", "merge segments", "quantise", "linear, add", "rms_norm",
        "linear, swiglu", "quantise", "linear, add",
    ]  # fmt: skip
    # The last layer computes what follows its attention for wanted rows only: two selects, of answer and residual.
    assert [kind for kind in kinds if kind not in ("select", "angles")] == [
        "embed",
        *layer,
        *layer,
        "rms_norm",
        "quantise",
        "unembed",
    ]
    assert kinds.count("select") == 2
    assert kinds.count("angles") == 1


# --- sequences ---


def test_steps_continue_sequences_and_truncate_goes_back():
    built, ids = program(tiny(LLAMA)), some_ids(200)
    whole = logits(built, ids)
    sequence = built.new_sequence(300)
    for start, stop in ((0, 70), (70, 71), (71, 200)):
        np.testing.assert_array_equal(built.step([(sequence, ids[start:stop])], "all"), whole[start:stop])
    assert sequence.length == 200
    assert sequence.truncate(63) == 63
    np.testing.assert_array_equal(built.step([(sequence, ids[63:150])], "all"), whole[63:150])


def test_rows_are_those_that_are_wanted():
    built, ids = program(tiny(LLAMA)), some_ids(30)
    whole = logits(built, ids)
    one, other = built.new_sequence(50), built.new_sequence(50)
    assert built.step([(one, ids[:9]), (other, ids[:20])], "none").shape == (0, VOCABULARY)
    last = built.step([(one, ids[9:12]), (other, ids[20:21])], "last")
    np.testing.assert_array_equal(last, whole[[11, 20]])
    both = built.step([(one, ids[12:14]), (other, ids[21:24])], "all")
    np.testing.assert_array_equal(both, np.concatenate([whole[12:14], whole[21:24]]))


def test_more_tokens_than_a_step_holds_are_computed_in_turns():
    built, ids = program(tiny(LLAMA)), some_ids(1200)
    whole = logits(built, ids)
    one, other = built.new_sequence(1300), built.new_sequence(1300)
    rows = built.step([(one, ids[:600]), (other, ids[:550])], "all")
    np.testing.assert_array_equal(rows, np.concatenate([whole[:600], whole[:550]]))
    np.testing.assert_array_equal(built.step([(one, ids[600:]), (other, ids[550:1100])], "last"), whole[[1199, 1099]])


def test_windowed_layers_let_go_and_say_so():
    tracer = kernels.Tracer()
    placed = tiny(MISTRAL)  # both layers have windows of 70
    slot = placed.forward(tracer.begin(placed.memories), tracer)
    built = tracer.finish(slot, threads=2, kept_before_window=100)
    unbounded, ids = program(placed), some_ids(1500)
    whole = logits(unbounded, ids)
    sequence = built.new_sequence(2000)
    for start in range(0, 1500, 250):
        np.testing.assert_array_equal(
            built.step([(sequence, ids[start : start + 250])], "all"), whole[start : start + 250]
        )
    assert built.cache_bytes_in_use <= built.cache_bytes(10**6) < unbounded.cache_bytes(1500)
    assert sequence.truncate(1420) == 1420
    np.testing.assert_array_equal(built.step([(sequence, ids[1420:])], "all"), whole[1420:])
    assert sequence.truncate(600) == 0
    np.testing.assert_array_equal(built.step([(sequence, ids[:300])], "all"), whole[:300])


@pytest.mark.parametrize("cache", ["f16", "f32", "q8"])
def test_memory_is_counted_and_given_back(cache):
    built = program(tiny(LLAMA), cache=cache)
    per_block = LLAMA.layers * LLAMA.kv_heads * key_value_bytes(LLAMA.head_dim, cache) * 64
    sequence = built.new_sequence(10**6)
    assert built.cache_bytes_in_use == 0
    built.step([(sequence, some_ids(65))], "none")
    assert built.cache_bytes_in_use == built.cache_bytes(65) == 2 * per_block
    sequence.truncate(64)
    assert built.cache_bytes_in_use == per_block
    sequence.close()
    assert built.cache_bytes_in_use == 0


def test_steps_that_cannot_be_are_refused_and_change_nothing():
    built, ids = program(tiny(LLAMA)), some_ids(10)
    sequence = built.new_sequence(12)
    built.step([(sequence, ids)], "none")
    for work in ([(sequence, ids)], [(sequence, ids[:0])], [(sequence, ids[:1]), (sequence, ids[:1])]):
        with pytest.raises(ValueError, match="step:"):
            built.step(work, "last")
    for id_ in (-1, VOCABULARY):
        with pytest.raises(ValueError, match=f"token id {id_} is given, expected 0 to {VOCABULARY - 1}"):
            built.step([(sequence, np.array([id_], np.int32))], "last")
    assert sequence.length == 10


def test_a_sequence_outlives_whoever_forgets_its_program():
    sequence = program(tiny(LLAMA)).new_sequence(10)
    assert sequence.length == 0
    sequence.close()


@pytest.mark.parametrize("add", [False, True])
def test_a_graph_may_end_with_the_rows_it_selects(add):
    """Whatever made them: an operation that computes row by row, or one that does not."""
    table = np.random.default_rng(2).standard_normal((VOCABULARY, 5)).astype(np.float32)
    tracer = kernels.Tracer()
    batch = tracer.begin([])
    x = tracer.embed(batch.ids, matrix(table, "F32"))
    built = tracer.finish(tracer.select(x + x if add else x, batch.wanted), threads=1)
    ids = some_ids(9)
    np.testing.assert_array_equal(logits(built, ids), table[ids] * (2 if add else 1))
    np.testing.assert_array_equal(logits(built, ids, "last"), table[ids[-1:]] * (2 if add else 1))


# --- graphs that cannot be ---


def test_graphs_that_do_not_fit_are_refused_by_name():
    placed = tiny(LLAMA)
    tracer = kernels.Tracer()
    batch = tracer.begin(placed.memories)
    x = tracer.embed(batch.ids, placed.weights["embedding"])
    with pytest.raises(kernels.TracingError, match="linear: x has 64 columns, expected 96"):
        tracer.linear(x, placed.weights["0.down"])
    with pytest.raises(kernels.TracingError, match="rms_norm: weight has 16 values, expected 64"):
        tracer.rms_norm(x, np.ones(16, np.float32), 1e-5)
    with pytest.raises(kernels.TracingError, match="cannot be cut into heads of 7"):
        tracer.heads(x, 7)
    with pytest.raises(kernels.TracingError, match="window is 9"):
        tracer.attend(x, tracer.linear(x, placed.weights["0.k"]), tracer.linear(x, placed.weights["0.v"]),
                        batch.caches[0], scale=1.0, window=9)  # fmt: skip
    with pytest.raises(kernels.TracingError, match="Replay a choice with arithmetic"):
        tracer.route_top_k(x, 2, chosen=x)
    with pytest.raises(kernels.TracingError, match=r"select\(x, batch.wanted\)"):
        tracer.finish(x, threads=1)


def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(ValueError, match=r"instruction set neon is not known.*expected one of plain, avx2, avx512"):
        program(tiny(LLAMA), instruction_set="neon")
