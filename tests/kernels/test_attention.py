"""Native attention against arithmetic.attend, at the sizes where blocks and segments break."""

import numpy as np
import pytest

from ouvert import arithmetic
from ouvert.kernels import _native
from ouvert.kernels.linear import available_instruction_sets

# Scores are sums of head_dim products in float32, and 2^x is within 1e-7 of its size.
FLOAT32 = {"rtol": 2e-5, "atol": 2e-6}
# Keys and values have 11 bits in float16: a score of a few units is off by a thousandth, a value by 5e-4 of its size.
FLOAT16 = {"rtol": 5e-3, "atol": 5e-3}
# A code is off by up to 1/254 of the largest of its 32 neighbours, which is three times their usual size.
INT8 = {"rtol": 5e-2, "atol": 5e-2}
SCALE_DIM = 32


def dense(q, k, v, *, first, window=None, sinks=None, cache="f32", tile=1, segments=False, instruction_set=None):
    out = np.empty_like(q)
    _native.attend_dense(
        instruction_set or _native.best_instruction_set(), cache, q, k, v, first, q.shape[-1] ** -0.5,
        _native.NO_WINDOW if window is None else window, sinks, tile, segments, out,
    )  # fmt: skip
    return out.reshape(len(q), -1)


def random_qkv(tokens, length, q_heads, kv_heads, head_dim, seed=0):
    random = np.random.default_rng(seed)
    return [
        random.standard_normal((rows, heads, head_dim)).astype(np.float32)
        for rows, heads in ((tokens, q_heads), (length, kv_heads), (length, kv_heads))
    ]


def expected(q, k, v, **options):
    wide = [each.astype(np.float64) for each in (q, k.swapaxes(0, 1), v.swapaxes(0, 1))]
    return arithmetic.attend(*wide, scale=q.shape[-1] ** -0.5, **options)


def turned(x):
    """(..., head_dim) times an orthonormal Hadamard matrix, in float32 and in the order of the native code.

    Every n neighbours together, n the largest power of two that goes into head_dim.
    """
    count = x.shape[-1]
    n = min(count & -count, 256)
    x = x.astype(np.float32).reshape(*x.shape[:-1], count // n, n)
    half = 1
    while half < n:
        pairs = x.reshape(*x.shape[:-1], n // (2 * half), 2, half)
        a, b = pairs[..., 0, :], pairs[..., 1, :]
        x = np.stack([a + b, a - b], axis=-2).reshape(x.shape)
        half *= 2
    if n > 1:
        x = x * np.float32(n**-0.5)
    return x.reshape(*x.shape[:-2], count)


def kept_keys(k):
    """What an 8-bit cache gives back for turned keys (length, heads, head_dim): of each block, the first is exact."""
    first = k[np.arange(len(k)) // _native.BLOCK_KEYS * _native.BLOCK_KEYS]
    return through_int8(k - first) + first


def in_eight_bits(q, k, v, **options):
    """Attention over a float32 cache that holds what an 8-bit one would give back."""
    found = dense(turned(q), kept_keys(turned(k)), through_int8(turned(v)), cache="f32", **options)
    return turned(found.reshape(q.shape)).reshape(len(q), -1)


def through_int8(x):
    """What int8 codes with a scale for every SCALE_DIM neighbours give back for (..., head_dim)."""
    found = np.empty_like(x)
    for start in range(0, x.shape[-1], SCALE_DIM):
        near = x[..., start : start + SCALE_DIM]
        largest = np.abs(near).max(-1, keepdims=True)
        small, strange = largest < 2.0**-100, ~np.isfinite(near).all(-1, keepdims=True)
        with np.errstate(invalid="ignore", over="ignore"):
            safe = np.where(small | strange, np.float32(1), largest)
            codes = np.rint(near * (np.float32(127) / safe)) * ~small
            scales = np.where(strange, np.float32(np.nan), safe / np.float32(127))
            found[..., start : start + SCALE_DIM] = np.where(strange, 0, codes) * scales
    return found


@pytest.mark.parametrize("instruction_set", available_instruction_sets())
@pytest.mark.parametrize(
    ("length", "tokens"), [(1, 1), (5, 5), (63, 2), (64, 64), (65, 3), (255, 1), (256, 1), (257, 30), (530, 41)]
)
@pytest.mark.parametrize(("heads", "head_dim"), [((4, 2), 16), ((3, 1), 20), ((8, 1), 64), ((1, 1), 128), ((5, 5), 1)])
def test_it_is_the_attention_of_arithmetic(instruction_set, length, tokens, heads, head_dim):
    q, k, v = random_qkv(tokens, length, *heads, head_dim)
    for tile in (1, 3, 16):
        found = dense(q, k, v, first=length - tokens, tile=tile, instruction_set=instruction_set)
        np.testing.assert_allclose(found, expected(q, k, v), **FLOAT32)


@pytest.mark.parametrize("window", [1, 2, 63, 64, 65, 128, 300])
@pytest.mark.parametrize("with_sinks", [False, True])
def test_windows_and_sinks(window, with_sinks):
    q, k, v = random_qkv(150, 400, 6, 2, 32)
    sinks = np.linspace(-3, 5, 6).astype(np.float32) if with_sinks else None
    reference = expected(q, k, v, window=window, sinks=sinks)
    for tile in (1, 7, 21):
        found = dense(q, k, v, first=250, window=window, sinks=sinks, tile=tile)
        np.testing.assert_allclose(found, reference, **FLOAT32)


def test_half_precision_caches_are_off_by_their_rounding():
    q, k, v = random_qkv(70, 300, 4, 2, 64)
    found = dense(q, k, v, first=230, cache="f16", tile=16)
    np.testing.assert_allclose(found, expected(q, k, v), **FLOAT16)
    rounded = expected(q, k.astype(np.float16).astype(np.float32), v.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(found, rounded, **FLOAT32)


@pytest.mark.parametrize("instruction_set", available_instruction_sets())
@pytest.mark.parametrize(
    ("length", "tokens"), [(1, 1), (5, 5), (63, 2), (64, 64), (65, 3), (255, 1), (256, 1), (257, 30), (530, 41)]
)
@pytest.mark.parametrize(
    ("heads", "head_dim"), [((4, 2), 16), ((3, 1), 20), ((2, 1), 40), ((8, 1), 64), ((1, 1), 128), ((5, 5), 1)]
)
def test_an_eight_bit_cache_is_a_float32_cache_of_turned_and_rounded_keys_and_values(
    instruction_set, length, tokens, heads, head_dim
):
    q, k, v = random_qkv(tokens, length, *heads, head_dim)
    k[::3] *= 1000
    v[1::2] *= 0.001
    for tile in (1, 3, 16):
        options = {"first": length - tokens, "tile": tile, "instruction_set": instruction_set}
        found = dense(q, k, v, cache="q8", **options)
        np.testing.assert_array_equal(found, in_eight_bits(q, k, v, **options))


def test_eight_bit_caches_are_off_by_their_rounding():
    q, k, v = random_qkv(70, 300, 4, 2, 64)
    found = dense(q, k, v, first=230, cache="q8", tile=16)
    np.testing.assert_allclose(found, expected(q, k, v), **INT8)
    back = [turned(kept_keys(turned(k))), turned(through_int8(turned(v)))]
    np.testing.assert_allclose(found, expected(q, *back), **FLOAT32)
    exact, off = expected(q, k, v), expected(q, np.roll(back[0], 1, axis=-1), v)
    assert not np.allclose(off, exact, **INT8)


def test_a_few_large_numbers_of_every_key_do_not_round_the_others_away():
    """As Qwen2.5's biases make them. Without turning, all that shares their scale is lost."""
    q, k, v = random_qkv(70, 300, 4, 2, 64)
    k[..., [3, 17]] += 200
    q[..., [3, 17]] *= 0.01
    exact = expected(q, k, v)
    error = np.abs(dense(q, k, v, first=230, cache="q8", tile=16) - exact).max()
    assert error < 0.5 * np.abs(expected(q, through_int8(k), v) - exact).max()
    # Turning alone would spread them, and round everything by an eighth of them.
    once = turned(through_int8(turned(k)))
    assert error < 0.5 * np.abs(expected(q, once, v) - exact).max()


def test_turning_keeps_lengths_and_is_its_own_inverse():
    x = np.random.default_rng(1).standard_normal((5, 96)).astype(np.float32)
    np.testing.assert_allclose(turned(turned(x)), x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(turned(x), axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-6)
    assert not np.allclose(turned(x), x)


@pytest.mark.parametrize("instruction_set", available_instruction_sets())
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 0.0, 1e-40, 1e30])
@pytest.mark.parametrize("what", ["k", "v"])
def test_strange_values_are_the_same_everywhere_and_not_hidden(instruction_set, strange, what):
    q, k, v = random_qkv(3, 70, 2, 1, 40)
    (k if what == "k" else v)[66, 0, 33] = strange
    (k if what == "k" else v)[67, 0, :32] = strange
    options = {"first": 67, "instruction_set": instruction_set}
    with np.errstate(invalid="ignore", over="ignore"):
        found = dense(q, k, v, cache="q8", **options)
        rounded = in_eight_bits(q, k, v, **options)
    np.testing.assert_array_equal(found, rounded)
    if what == "v":
        assert np.isfinite(found).all() == np.isfinite(strange)


def test_the_tolerance_would_notice_a_window_off_by_one():
    q, k, v = random_qkv(40, 90, 2, 1, 32)
    found, off = dense(q, k, v, first=50, window=20, tile=8), expected(q, k, v, window=21)
    assert not np.allclose(found, off, **FLOAT32)
    assert not np.allclose(found, off, **FLOAT16)


@pytest.mark.parametrize("cache", ["f16", "f32", "q8"])
@pytest.mark.parametrize("window", [None, 100])
def test_tiles_segments_and_instruction_sets_change_no_bit(cache, window):
    q, k, v = random_qkv(70, 700, 6, 2, 40)
    sinks = np.ones(6, np.float32)
    one = dense(q, k, v, first=630, window=window, sinks=sinks, cache=cache)
    for instruction_set in available_instruction_sets():
        for tile in (1, 5, 21):
            for segments in (False, True):
                options = {"tile": tile, "segments": segments, "instruction_set": instruction_set}
                found = dense(q, k, v, first=630, window=window, sinks=sinks, cache=cache, **options)
                np.testing.assert_array_equal(found, one)


def test_large_scores_do_not_overflow():
    q, k, v = random_qkv(10, 300, 2, 1, 16)
    found = dense(q * 100, k * 100, v, first=290, tile=4)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected(q * 100, k * 100, v), rtol=1e-3, atol=1e-3)
