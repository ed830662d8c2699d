"""Prompts in the expanded form: the numbers of the absorbed one, and the same bits however a prompt is cut."""

from pathlib import Path

import numpy as np
import pytest

from ouvert import arithmetic, kernels, models, packed
from ouvert.kernels.linear import available_instruction_sets
from ouvert.weights import open_checkpoint

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
IDS = np.random.default_rng(3).integers(0, 64, 700).astype(np.int32)
EXPANDED = 512
# Of the largest logit. The two forms differ in the order of products alone: float32's rounding, through three layers.
FLOAT32 = 2e-5


def loaded(case, place):
    with open_checkpoint(GOLDENS / case / "model.safetensors") as checkpoint:
        return models.load(checkpoint, place)


def by_numpy(case, expanded, dtype=np.float64, ids=IDS):
    ops = arithmetic.Ops(dtype)
    model = loaded(case, ops)
    cache = ops.new_cache(model.memories)
    for layer in cache.layers:
        layer.expanded = expanded
    return model.forward(ops.begin([(cache, ids)], "all"), ops)


def program_of(case, cache="f32", threads=1, instruction_set=None, exact=True):
    tracer = kernels.Tracer(exact=exact, cache=cache)
    model = loaded(case, packed.InMemory())
    batch = tracer.begin(model.memories)
    logits = model.forward(batch, tracer)
    return tracer.finish(logits, threads=threads, instruction_set=instruction_set)


def rows(program, cuts, expanded=EXPANDED, ids=IDS):
    sequence, done, found = program.new_sequence(len(ids)), 0, []
    sequence.expanded = expanded
    for count in cuts:
        found.append(program.step([(sequence, ids[done : done + count])], "all"))
        done += count
    return np.concatenate(found)


@pytest.mark.parametrize("case", ["deepseek_v3", "deepseek_v3-plain", "deepseek_v2"])
def test_the_definition_gives_the_same_numbers_in_both_forms(case):
    absorbed, expanded = by_numpy(case, 0), by_numpy(case, EXPANDED)
    np.testing.assert_allclose(expanded, absorbed, rtol=0, atol=1e-11 * np.abs(absorbed).max())
    assert not np.array_equal(expanded, absorbed)


@pytest.mark.parametrize("case", ["deepseek_v3", "deepseek_v2"])
def test_the_kernel_computes_the_definition(case):
    expected = by_numpy(case, EXPANDED)
    found = rows(program_of(case), [700])
    np.testing.assert_allclose(found, expected, rtol=0, atol=FLOAT32 * np.abs(expected).max())
    assert not np.array_equal(found, rows(program_of(case), [700], expanded=0))


def test_a_wrong_order_of_a_heads_numbers_would_be_noticed():
    """Position and content swapped in a key: what a plausible mistake would do."""
    rng = np.random.default_rng(5)
    q, latents = rng.standard_normal((4, 3, 5)), rng.standard_normal((9, 8))
    key, value = rng.standard_normal((3, 6, 3)), rng.standard_normal((3, 4, 6))
    right = arithmetic.attend_expanded(q, latents, key, value, scale=0.3)
    wrong = arithmetic.attend_expanded(np.roll(q, 2, axis=-1), latents, key, value, scale=0.3)
    assert np.abs(right - wrong).max() > 1e-2
    taken = np.einsum("thn,hln->thl", q[..., :3], key)
    both = arithmetic.attend(np.concatenate([taken, q[..., 3:]], -1), latents[None], latents[None, :, :6], scale=0.3)
    by_values = np.einsum("thl,hvl->thv", both.reshape(4, 3, 6), value).reshape(4, -1)
    np.testing.assert_allclose(right, by_values, rtol=1e-12)


@pytest.mark.parametrize("cache", ["f16", "q8"])
def test_the_same_bits_however_a_prompt_is_cut_and_by_however_many_threads(cache):
    expected = rows(program_of("deepseek_v3", cache, exact=False), [700])
    cuts = ([64] * 10 + [60], [1, 254, 1, 300, 144], [511, 2, 187], [700])
    for threads, instruction_set in ((1, None), (3, None), (1, "plain"), (2, "avx2")):
        if instruction_set is not None and instruction_set not in available_instruction_sets():
            continue
        program = program_of("deepseek_v3", cache, threads, instruction_set, exact=False)
        for each in cuts[: 4 if threads == 3 else 2]:
            np.testing.assert_array_equal(rows(program, each), expected)


def test_the_same_bits_beside_an_answer_and_behind_kept_pages():
    program = program_of("deepseek_v3", "f16")
    expected = rows(program, [700])
    other = program.new_sequence(900)
    program.step([(other, IDS[:300])], "none")
    first = program.new_sequence(900)
    first.expanded = EXPANDED
    found = [program.step([(other, IDS[:1]), (first, IDS[:320])], ["none", "all"])]
    again = program.resume([first.page(n) for n in range(5)], 310, 900)
    again.expanded = EXPANDED
    found[0] = found[0][:310]
    for start, stop in ((310, 512), (512, 700)):
        rows_of = program.step(
            [
                (other, IDS[:2]),
                (again, IDS[start:stop]),
            ],
            ["none", "all"],
        )
        found.append(rows_of)
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_a_model_without_latents_has_no_such_form():
    assert program_of("deepseek_v3").expands
    assert not program_of("qwen2").expands
