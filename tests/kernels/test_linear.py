"""Products with packed weights: against NumPy, against plain C++ bit for bit, and against themselves in pieces."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ouvert.kernels import linear, packing
from ouvert.weights import decode

from .encoded_weights import RECORDS, encoded

INT8 = ["MXFP4", "Q4_0", "IQ4_NL", "Q4_1", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "Q8_0"]
FLOAT = ["BF16", "F16", "F32", "MXINT8"]
SETS = linear.available_instruction_sets()
HAVE_MINIMUM = ("Q4_1", "Q5_1", "Q4_K", "Q5_K")


@pytest.fixture
def random():
    return np.random.default_rng(3)


def packed_weights(random, layout, rows, columns):
    """The packed matrix and its weights as float64."""
    data = encoded(random, layout, rows, columns)
    encoding = "F32" if layout == "MXINT8" else layout
    packed, _ = packing.pack(encoding, data, rows, columns, layout=layout)
    return linear.Packed(layout, rows, columns, packed), decode(encoding, data, (rows, columns)).astype(np.float64)


def quantise_in_numpy(x, most=127):
    """The definition in linear.h: codes (tokens, blocks, 32) and scales (tokens, blocks)."""
    grouped = x.reshape(len(x), -1, 32)
    largest = np.abs(grouped).max(-1)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(largest < 2.0**-100, np.float32(0), np.float32(most) / largest)
    codes = np.rint(grouped * inverse[:, :, None])
    return codes.astype(np.int16), np.where(largest < 2.0**-100, np.float32(0), largest / np.float32(most))


WIDE = 16383  # the largest code of 16-bit activations
WAYS = {127: linear.quantise, WIDE: linear.quantise_wide}


def assert_sums_agree(result, weights, x, steps):
    """float32 sums of `steps` fused additions a row against float64.

    Every addition rounds once, by at most 2^-24 of what has been added up so far, and every scale was one rounded
    product: together less than (steps + 2) × 2^-24 of the sum of the absolute terms.
    """
    expected, bound = x @ weights.T, (steps + 2) * 2.0**-24 * (np.abs(x) @ np.abs(weights).T)
    assert result.shape == expected.shape
    worst = np.max(np.abs(result - expected) - bound, initial=0)
    assert worst <= 0, f"{worst} beyond what rounding explains"


# ---- activations


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("most", WAYS)
@pytest.mark.parametrize("tokens", [1, 2, 15, 16, 17, 40])
@pytest.mark.parametrize("columns", [32, 96, 576])
def test_activations_are_quantised_as_defined(random, instruction_set, most, tokens, columns):
    x = (random.standard_normal((tokens, columns)) * 10.0 ** random.uniform(-6, 6, (tokens, 1))).astype(np.float32)
    x[0, :32] = 0
    codes, scales, sums = WAYS[most](x, instruction_set=instruction_set).fields()
    expected_codes, expected_scales = quantise_in_numpy(x, most)
    np.testing.assert_array_equal(codes, expected_codes)
    np.testing.assert_array_equal(scales, expected_scales)
    np.testing.assert_array_equal(sums, expected_codes.reshape(tokens, -1, 2, 16).sum(-1, dtype=np.int32))


@pytest.mark.parametrize("instruction_set", SETS)
def test_ties_go_to_even_and_tiny_blocks_are_zeros(instruction_set):
    x = np.zeros((2, 32), np.float32)
    x[0, :6] = [127, 0.5, 1.5, 2.5, -0.5, -1.5]
    x[1] = 2.0**-101
    codes, scales, _ = linear.quantise(x, instruction_set=instruction_set).fields()
    assert codes[0, 0, :6].tolist() == [127, 0, 2, 2, 0, -2]
    assert scales[:, 0].tolist() == [1, 0]
    assert not codes[1].any()


@pytest.mark.parametrize("instruction_set", SETS)
def test_gathered_and_split_activations_are_the_same(random, instruction_set):
    x = random.standard_normal((40, 64)).astype(np.float32)
    whole = linear.quantise(x, instruction_set=instruction_set)
    split = linear.quantise(x, instruction_set=instruction_set, splits=(1, 16, 17, 33))
    for one, other in zip(whole.fields(), split.fields(), strict=True):
        np.testing.assert_array_equal(one, other)
    rows = random.integers(0, 40, 21).astype(np.int32)
    gathered = linear.quantise(x, from_rows=rows, instruction_set=instruction_set)
    for one, other in zip(gathered.fields(), linear.quantise(x[rows]).fields(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("instruction_set", SETS)
def test_split_activations_of_16_bits_are_the_same(random, instruction_set):
    x = random.standard_normal((40, 64)).astype(np.float32)
    whole = linear.quantise_wide(x, instruction_set=instruction_set)
    split = linear.quantise_wide(x, instruction_set=instruction_set, splits=(1, 16, 17, 33))
    for one, other in zip(whole.fields(), split.fields(), strict=True):
        np.testing.assert_array_equal(one, other)


# ---- products


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", INT8)
@pytest.mark.parametrize("most", WAYS)
@pytest.mark.parametrize(("rows", "tokens"), [(1, 1), (15, 3), (16, 16), (17, 17), (48, 33)])
def test_products_agree_with_numpy(random, instruction_set, layout, most, rows, tokens):
    weights, decoded = packed_weights(random, layout, rows, 512)
    x = random.standard_normal((tokens, 512)).astype(np.float32)
    result = linear.matmul(weights, WAYS[most](x), instruction_set=instruction_set)
    codes, scales = quantise_in_numpy(x, most)
    quantised = (codes * scales[:, :, None].astype(np.float64)).reshape(x.shape)
    if (
        layout in HAVE_MINIMUM
    ):  # the code's and the minimum's terms are added one by one, so their sizes count, not their sum's
        largest = np.abs(decoded.reshape(rows, -1, 32)).max()
        slack = 8 * 16 * 2.0**-24 * largest * np.abs(quantised).sum(-1).max()
        np.testing.assert_allclose(result, quantised @ decoded.T, rtol=0, atol=slack)
    else:  # sums of 16-bit codes may be larger than float32's 24 bits: they are rounded as well
        assert_sums_agree(result, decoded, quantised, steps=16 + (most == WIDE))


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", INT8)
@pytest.mark.parametrize("tokens", [*range(1, 10), 16, 21])
def test_products_of_16_bits_are_the_same_to_the_bit_in_pieces_and_in_plain_code(
    random, instruction_set, layout, tokens
):
    rows = 49
    weights, decoded = packed_weights(random, layout, rows, 768)
    x = random.standard_normal((tokens, 768)).astype(np.float32)
    bias = random.standard_normal(rows).astype(np.float32)
    wide = linear.quantise_wide(x)
    result = linear.matmul(weights, wide, bias=bias, instruction_set=instruction_set)
    np.testing.assert_array_equal(result, linear.matmul(weights, wide, bias=bias, instruction_set="plain"))
    pieces = np.full_like(result, np.nan)
    for (row, row_end), (token, token_end) in itertools.product(
        itertools.pairwise([*range(0, rows, 16), rows]), itertools.pairwise([*range(0, tokens, 3), tokens])
    ):
        piece = linear.Piece(row, row_end, token, token_end)
        linear.matmul(weights, wide, out=pieces, piece=piece, bias=bias, instruction_set=instruction_set)
    np.testing.assert_array_equal(pieces, result)
    alone = linear.matmul(weights, linear.quantise_wide(x[-1:]), bias=bias, instruction_set=instruction_set)
    np.testing.assert_array_equal(result[-1:], alone)
    # 127 / 16383 of the error of 8 bits, give or take chance for a single sum, and the roundings of float32.
    narrow = linear.matmul(weights, linear.quantise(x), instruction_set=instruction_set)
    one, two = (np.abs(found - x.astype(np.float64) @ decoded.T).mean() for found in (narrow, result - bias))
    assert two < one / 50


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", INT8 + FLOAT)
@pytest.mark.parametrize(("rows", "tokens"), [(1, 1), (15, 2), (17, 5), (48, 13)])
def test_float_products_agree_with_numpy(random, instruction_set, layout, rows, tokens):
    weights, decoded = packed_weights(random, layout, rows, 256)
    x = random.standard_normal((tokens, 256)).astype(np.float32)
    result = linear.matmul(weights, x, instruction_set=instruction_set)
    assert_sums_agree(result, decoded, x.astype(np.float64), steps=256 / 4 + 2)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", FLOAT)
@pytest.mark.parametrize("columns", [1, 3, 31, 33, 70])
def test_float_layouts_take_any_number_of_columns(random, instruction_set, layout, columns):
    weights, decoded = packed_weights(random, layout, 19, columns)
    x = random.standard_normal((7, columns)).astype(np.float32)
    result = linear.matmul(weights, x, instruction_set=instruction_set)
    assert_sums_agree(result, decoded, x.astype(np.float64), steps=columns / 4 + 5)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("columns", [1, 8, 16, 33, 1024, 2100])
def test_products_with_shared_exponents_are_those_of_the_same_numbers_as_floats(random, instruction_set, columns):
    """Sums are counted in powers of two, which rounds nothing: what is computed depends on the numbers alone."""
    weights, decoded = packed_weights(random, "MXINT8", 37, columns)
    raw = decoded.astype(np.float32).reshape(-1).view(np.uint8)
    floats = linear.Packed("F32", 37, columns, packing.pack("F32", raw, 37, columns)[0])
    for tokens in (1, 2, 9):
        x = (random.standard_normal((tokens, columns)) * np.exp2(random.integers(-20, 10, columns))).astype(np.float32)
        ours, theirs = (linear.matmul(each, x, instruction_set=instruction_set) for each in (weights, floats))
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("layout", INT8)
def test_int8_activations_cost_what_their_rounding_explains(random, layout):
    """Half a step of 1/127 of the largest of 32: each x is off by at most scale / 2."""
    weights, decoded = packed_weights(random, layout, 32, 512)
    x = random.standard_normal((9, 512)).astype(np.float32)
    _, scales = quantise_in_numpy(x)
    bound = np.repeat(scales / 2, 32, axis=1) @ np.abs(decoded).T * (1 + 1e-3) + 1e-6
    error = np.abs(linear.matmul(weights, linear.quantise(x)) - x @ decoded.T)
    assert np.all(error <= bound)
    assert error.mean() < 0.1 * bound.mean()  # roundings of both signs cancel: the bound is not the usual case


@pytest.mark.parametrize("instruction_set", SETS[1:])
@pytest.mark.parametrize("layout", INT8 + FLOAT)
def test_every_instruction_set_gives_the_plain_numbers(random, instruction_set, layout):
    shapes = [(16, 256, 1), (33, 512, 2), (48, 768, 37)]
    if not layout.endswith("K"):
        shapes += [(16, 32, 3), (17, 224, 1), (32, 576, 19), (32, 2880, 17)]  # columns that end within a stretch of 256
    if layout in FLOAT:
        shapes += [(33, 8, 1), (49, 16, 1), (49, 16, 2), (33, 17, 1), (20, 70, 1)]  # those of narrow adapters
    for rows, columns, tokens in shapes:
        weights, _ = packed_weights(random, layout, rows, columns)
        x = random.standard_normal((tokens, columns)).astype(np.float32)
        bias = random.standard_normal(rows).astype(np.float32)
        start = random.standard_normal((tokens, rows)).astype(np.float32)
        for given_x in [x] if layout in FLOAT else [x, linear.quantise(x)]:
            results = [
                linear.matmul(weights, given_x, out=start.copy(), bias=bias, accumulate=True, instruction_set=each)
                for each in ("plain", instruction_set)
            ]
            np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", ["MXFP4", "Q4_K", "Q6_K", "Q8_0", "BF16", "MXINT8"])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_token_alone_in_a_batch_or_in_pieces_is_the_same(instruction_set, layout, data):
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    rows, columns = data.draw(st.integers(1, 70)), 256 * data.draw(st.integers(1, 3))
    tokens = data.draw(st.integers(1, 40))
    weights, _ = packed_weights(random, layout, rows, columns)
    x = random.standard_normal((tokens, columns)).astype(np.float32)

    def prepared(some):
        return some if layout in FLOAT else linear.quantise(some, instruction_set=instruction_set)

    alone = np.concatenate(
        [linear.matmul(weights, prepared(x[t : t + 1]), instruction_set=instruction_set) for t in range(tokens)]
    )
    together = prepared(x)
    np.testing.assert_array_equal(linear.matmul(weights, together, instruction_set=instruction_set), alone)
    token_cuts = sorted({0, tokens, *data.draw(st.lists(st.integers(0, tokens), max_size=4))})
    row_cuts = sorted({0, rows, *(16 * n for n in data.draw(st.lists(st.integers(0, rows // 16), max_size=3)))})
    out = np.full((tokens, rows), np.nan, np.float32)
    for row_begin, row_end in itertools.pairwise(row_cuts):
        for token_begin, token_end in itertools.pairwise(token_cuts):
            piece = linear.Piece(row_begin, row_end, token_begin, token_end)
            linear.matmul(weights, together, out=out, piece=piece, instruction_set=instruction_set)
    np.testing.assert_array_equal(out, alone)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", ["MXFP4", "Q4_1", "F16"])
def test_an_experts_tokens_are_gathered_and_scattered(random, instruction_set, layout):
    weights, _ = packed_weights(random, layout, 40, 64)
    x = random.standard_normal((30, 64)).astype(np.float32)
    chosen = random.permutation(30)[:19].astype(np.int32)
    slots = random.permutation(50)[:19].astype(np.int32)
    out = np.full((50, 40), 7, np.float32)
    if layout == "F16":
        all_rows = linear.matmul(weights, x, instruction_set=instruction_set)
        linear.matmul(weights, x, out=out, from_rows=chosen, out_rows=slots, instruction_set=instruction_set)
    else:
        all_rows = linear.matmul(weights, linear.quantise(x), instruction_set=instruction_set)
        gathered = linear.quantise(x, from_rows=chosen)
        linear.matmul(weights, gathered, out=out, out_rows=slots, instruction_set=instruction_set)
    np.testing.assert_array_equal(out[slots], all_rows[chosen])
    assert np.all(np.delete(out, slots, axis=0) == 7)


# ---- extremes


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", INT8)
@pytest.mark.parametrize("most", WAYS)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("byte", [0x00, 0xFF, 0x77, 0x88, 0x80, 0x7F])
def test_the_largest_codes_do_not_overflow(random, instruction_set, layout, most, sign, byte):
    """Every code and every activation at an end of its range: where sums of 16 or 32 bits would overflow."""
    rows, columns = 16, 512
    data = encoded(random, layout, rows, columns).view(RECORDS[layout])
    for field in data.dtype.names:
        if field not in ("scale", "minimum", "exponent"):
            data[field] = np.array(byte, np.uint8).astype(data.dtype[field].base)
    encoded_bytes = data.view(np.uint8)
    packed, _ = packing.pack(layout, encoded_bytes, rows, columns)
    decoded = decode(layout, encoded_bytes, (rows, columns)).astype(np.float64)
    x = np.full((5, columns), sign, np.float32)
    weights = linear.Packed(layout, rows, columns, packed)
    result = linear.matmul(weights, WAYS[most](x), instruction_set=instruction_set)
    codes = np.float64(np.float32(1) / np.float32(most)) * most * sign
    largest = np.abs(decoded).max() + 2 * np.abs(decoded.reshape(rows, -1, 32)).max()
    np.testing.assert_allclose(
        result, np.full_like(x, codes) @ decoded.T, rtol=0, atol=64 * 2.0**-24 * largest * columns
    )


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", ["MXFP4", "Q4_1", "Q6_K", "Q8_0", "BF16"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_an_infinite_activation_spoils_its_token_and_no_other(random, instruction_set, layout, bad):
    weights, _ = packed_weights(random, layout, 20, 256)
    x = random.standard_normal((20, 256)).astype(np.float32)
    before = linear.matmul(weights, x if layout in FLOAT else linear.quantise(x), instruction_set=instruction_set)
    wide = None if layout in FLOAT else linear.matmul(weights, linear.quantise_wide(x))
    x[7, 100] = bad
    after = linear.matmul(
        weights,
        x if layout in FLOAT else linear.quantise(x, instruction_set=instruction_set),
        instruction_set=instruction_set,
    )
    assert not np.isfinite(after[7]).any()
    np.testing.assert_array_equal(np.delete(after, 7, axis=0), np.delete(before, 7, axis=0))
    if wide is not None:
        activations = linear.quantise_wide(x, instruction_set=instruction_set)
        after = linear.matmul(weights, activations, instruction_set=instruction_set)
        assert not np.isfinite(after[7]).any()
        np.testing.assert_array_equal(np.delete(after, 7, axis=0), np.delete(wide, 7, axis=0))


@pytest.mark.parametrize("instruction_set", SETS)
def test_an_infinite_scale_spoils_its_row_and_no_other(random, instruction_set):
    data = encoded(random, "Q4_0", 16, 64)
    x = linear.quantise(random.standard_normal((3, 64)).astype(np.float32))
    before = linear.matmul(linear.Packed("Q4_0", 16, 64, packing.pack("Q4_0", data, 16, 64)[0]), x)
    spoiled = data.copy().reshape(16, 2, 18)
    spoiled[5, 1, :2] = np.array(np.inf, np.float16).reshape(1).view(np.uint8)
    packed = packing.pack("Q4_0", spoiled.reshape(-1), 16, 64)[0]
    after = linear.matmul(linear.Packed("Q4_0", 16, 64, packed), x, instruction_set=instruction_set)
    assert not np.isfinite(after[:, 5]).any()
    np.testing.assert_array_equal(np.delete(after, 5, axis=1), np.delete(before, 5, axis=1))


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", INT8)
def test_zeros_give_zeros(random, instruction_set, layout):
    weights, _ = packed_weights(random, layout, 17, 256)
    result = linear.matmul(weights, linear.quantise(np.zeros((3, 256), np.float32)), instruction_set=instruction_set)
    assert not result.any()


@pytest.mark.parametrize("instruction_set", SETS)
def test_tiny_scales_are_kept(random, instruction_set):
    """Exponents 0 to 2 of MXFP4 make scales below the normal range of float32, and products in it."""
    data = encoded(random, "MXFP4", 16, 96)
    data.reshape(-1, 17)[:, 0] = random.integers(0, 3, 48)
    weights = linear.Packed("MXFP4", 16, 96, packing.pack("MXFP4", data, 16, 96)[0])
    x = np.full((2, 96), 2.0**20, np.float32)
    result = linear.matmul(weights, linear.quantise(x), instruction_set=instruction_set)
    decoded = decode("MXFP4", data, (16, 96)).astype(np.float64)
    assert_sums_agree(result, decoded, x.astype(np.float64) * 127 * np.float32(1 / 127), steps=8)
    assert result.any()


# ---- the tests themselves


@pytest.mark.parametrize("layout", ["MXFP4", "Q4_0", "Q8_0"])
def test_the_tolerance_notices_one_wrong_code(random, layout):
    weights, decoded = packed_weights(random, layout, 16, 512)
    x = random.standard_normal((4, 512)).astype(np.float32)
    codes, scales = quantise_in_numpy(x)
    quantised = (codes * scales[:, :, None].astype(np.float64)).reshape(x.shape)
    damaged = weights.data.copy()
    damaged[-1] ^= 1  # the last bit of one code, or of two
    result = linear.matmul(linear.Packed(layout, 16, 512, damaged), linear.quantise(x))
    with pytest.raises(AssertionError, match="beyond what rounding explains"):
        assert_sums_agree(result, decoded, quantised, steps=16)


def test_what_does_not_fit_is_named(random):
    weights, _ = packed_weights(random, "Q4_0", 32, 64)
    x = linear.quantise(np.zeros((3, 64), np.float32))
    with pytest.raises(ValueError, match="quantised activations of 32 columns for Q4_0 weights of 64"):
        linear.matmul(weights, linear.quantise(np.zeros((3, 32), np.float32)))
    with pytest.raises(ValueError, match="float activations for BF16"):
        linear.matmul(packed_weights(random, "BF16", 32, 64)[0], x)
    with pytest.raises(ValueError, match=r"out is float32\(3, 31\), expected contiguous float32\(3, 32\)"):
        linear.matmul(weights, x, out=np.zeros((3, 31), np.float32))
    with pytest.raises(ValueError, match="row bounds in multiples of 16"):
        linear.matmul(weights, x, out=np.zeros((3, 32), np.float32), piece=linear.Piece(8, 32, 0, 3))
    with pytest.raises(ValueError, match="need an `out`"):
        linear.matmul(weights, x, accumulate=True)
    with pytest.raises(ValueError, match=r"bias is float32\(31,\)"):
        linear.matmul(weights, x, bias=np.zeros(31, np.float32))
    with pytest.raises(ValueError, match="out_rows is"):
        linear.matmul(weights, x, out=np.zeros((3, 32), np.float32), out_rows=np.array([0, 1, 3], np.int32))
    with pytest.raises(ValueError, match="columns, expected a positive multiple of 32"):
        linear.quantise(np.zeros((3, 40), np.float32))
    with pytest.raises(ValueError, match="not known to the kernels"):
        linear.matmul(weights, x, instruction_set="sse9")
