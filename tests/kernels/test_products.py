"""Products for training: against arithmetic in float64, against programs' products, and against themselves on other
threads and instruction sets."""

import threading

import numpy as np
import pytest

from ouvert.kernels import Products, linear, packing
from ouvert.weights import decode

from .encoded_weights import RECORDS, encoded

INT8 = ["MXFP4", "Q4_0", "IQ4_NL", "Q4_1", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "Q8_0"]
FLOAT = ["BF16", "F16", "F32", "MXINT8"]
SETS = linear.available_instruction_sets()
# (rows, columns, tokens): tokens around the widths that kernels take together, rows that fill no group or panel.
SHAPES = [(1, 256, 1), (15, 256, 5), (17, 512, 6), (40, 768, 7), (129, 256, 31), (200, 512, 32), (300, 256, 33)]
SHORT = [(20, 32, 6), (33, 96, 13), (576, 1536, 37), (1536, 576, 50)]  # columns that the K layouts do not take
WIDTHS = [(19, 1, 7), (19, 3, 2), (19, 31, 5), (140, 33, 14), (19, 70, 3)]  # columns that only the float layouts take


@pytest.fixture
def random():
    return np.random.default_rng(16)


def packed_weights(random, layout, rows, columns):
    """The packed matrix and its weights as float64."""
    data = encoded(random, layout, rows, columns)
    encoding = "F32" if layout == "MXINT8" else layout
    packed, _ = packing.pack(encoding, data, rows, columns, layout=layout)
    return linear.Packed(layout, rows, columns, packed), decode(encoding, data, (rows, columns)).astype(np.float64)


def packed_experts(random, layout, experts, rows, columns):
    each = [packed_weights(random, layout, rows, columns) for _ in range(experts)]
    data = np.concatenate([one.data for one, _ in each])
    return linear.Packed(layout, rows, columns, data, experts), [decoded for _, decoded in each]


def floats(random, *shape):
    return random.standard_normal(shape).astype(np.float32)


def assert_is_transposed_product(result, weights, dy):
    """To 2e-6 of √rows times the weights' size, dy being of size one.

    Sums of n terms of both signs grow with √n, and each of the n roundings is at most 2^-24 of the sum so far: together
    0.4 × 2^-24 × n on average. A panel of 64 rows is off by 1.5e-6, and R / 64 panels by √R / 8 times as much: 0.2e-6 ×
    √R. Ten times that never happens; a scale or a row too few is 1000 times as much.
    """
    expected = dy.astype(np.float64) @ weights
    assert result.shape == expected.shape
    size = np.sqrt(np.mean(weights**2))
    assert np.max(np.abs(result - expected), initial=0) <= 2e-6 * np.sqrt(len(weights)) * size


# ---- transposed


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", INT8 + FLOAT)
def test_the_exact_transposed_product_agrees_with_numpy(random, instruction_set, layout):
    products = Products(instruction_set=instruction_set)
    shapes = [*SHAPES, *(() if layout.endswith("K") else SHORT), *(WIDTHS if layout in FLOAT else ())]
    for rows, columns, tokens in shapes:
        weights, decoded = packed_weights(random, layout, rows, columns)
        dy = floats(random, tokens, rows)
        result = products.transposed_exact(weights, dy)
        assert_is_transposed_product(result, decoded, dy)
        if layout in FLOAT:
            np.testing.assert_array_equal(products.transposed(weights, dy), result)


PANEL = 64  # rows that are rounded, and summed, together


def in_panels(x):
    """(…, rows) as (…, panels, 64), filled up with zeros."""
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % PANEL)])
    return padded.reshape(*x.shape[:-1], -1, PANEL)


def shares_of_largest(x):
    """Whole numbers of 16 bits of each panel, and its largest number."""
    largest = np.abs(x).max(-1, keepdims=True)
    inverse = np.divide(np.float32(32767), largest, out=np.zeros_like(largest), where=largest > 0)
    return np.rint(x * inverse).astype(np.int64), largest


def rounded_transposed(codes, scales, minimums, dy, width, *, coarse=False):
    """transposed.h's definition, with sums in float64: codes less their centre (rows, columns), scales and minimums
    float32 (rows, columns / width). `coarse`: products with codes are of 8 bits."""
    tokens, columns = len(dy), codes.shape[1]
    dy_codes, dy_largest = shares_of_largest(in_panels(dy))  # (tokens, panels, 64)
    units = dy_largest[..., 0] / np.float32(32767)
    out = np.zeros((tokens, columns))
    for block in range(columns // width):
        own = slice(block * width, (block + 1) * width)
        parts = [(codes[:, own], scales[:, block], coarse)]
        if minimums is not None:
            parts.append((np.ones((len(codes), width), np.int64), minimums[:, block], False))
        for whole, factors, in_bytes in parts:
            shares, largest = shares_of_largest(in_panels(factors))  # (panels, 64)
            scaled = (dy_codes * shares + 2**14) >> 15
            scaled = (scaled * 127 + 2**14) >> 15 if in_bytes else scaled
            step = 32768.0 / 32767.0 * (32768.0 / 127.0 if in_bytes else 1)
            dots = np.einsum("tpr,prc->tpc", scaled, in_panels(whole.T).transpose(1, 2, 0))
            assert np.abs(dots).max(initial=0) < 2**31
            out[:, own] += np.einsum("tpc,tp,p->tc", dots, units, largest[:, 0] * step)
    return out


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", ["Q4_0", "Q8_0", "Q4_1"])
@pytest.mark.parametrize("coarsely", [False, True])
def test_the_rounded_transposed_product_is_as_defined(random, instruction_set, layout, coarsely):
    """Of the layouts whose fields are plain; the others are held to the same loops by their error, below."""
    for rows, columns, tokens in [(1, 32, 1), (15, 64, 5), (64, 32, 6), (65, 64, 33), (200, 96, 18)]:
        data = encoded(random, layout, rows, columns).view(RECORDS[layout]).reshape(rows, -1)
        packed, _ = packing.pack(layout, data.view(np.uint8).reshape(-1), rows, columns)
        scales = data["scale"].astype(np.float32)
        minimums = data["minimum"].astype(np.float32) + 8 * scales if layout == "Q4_1" else None
        weights = decode(layout, data.view(np.uint8).reshape(-1), (rows, columns)).astype(np.float64)
        less = np.repeat(data["minimum"].astype(np.float64), 32, 1) if layout == "Q4_1" else 0
        codes = np.rint((weights - less) / np.repeat(scales.astype(np.float64), 32, 1)) - (8 if layout == "Q4_1" else 0)
        dy = floats(random, tokens, rows)
        products, weight = Products(instruction_set=instruction_set), linear.Packed(layout, rows, columns, packed)
        coarse = coarsely and layout != "Q8_0"
        result = (products.transposed_coarse if coarsely else products.transposed)(weight, dy)
        expected = rounded_transposed(codes.astype(np.int64), scales, minimums, dy, 32, coarse=coarse)
        # A panel's sum is rounded a few times, by 2^-24 of the sum so far; a share that was rounded the other way would
        # be 2^-15 of a term.
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6 * np.sqrt(rows) * np.sqrt(np.mean(weights**2)))


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", INT8)
def test_rounded_gradients_are_off_by_what_16_bits_explain(random, instruction_set, layout):
    """A term is off by up to two units of 2^-16 of the panel's largest dy and scale: 0.4 × 2^-16 each on average, and
    both are about three times the usual ones, so 1e-4 for a product whose roundings cancel like its terms. Terms with
    Q4_K's and Q6_K's scales, which vary more, up to twice that. 8 bits would be off by 2e-2."""
    products = Products(instruction_set=instruction_set)
    for rows, columns, tokens in [*SHAPES[1:], *(() if layout.endswith("K") else SHORT)]:
        weights, decoded = packed_weights(random, layout, rows, columns)
        dy = floats(random, tokens, rows)
        expected = dy.astype(np.float64) @ decoded
        error = np.linalg.norm(products.transposed(weights, dy) - expected) / np.linalg.norm(expected)
        assert 1e-6 < error < 2e-4
        # Half a unit of 1/127 of the largest instead, to which the usual scaled gradient is 1 to 5 (minimums keep 16).
        error = np.linalg.norm(products.transposed_coarse(weights, dy) - expected) / np.linalg.norm(expected)
        assert error < (2e-4 if layout in ("Q8_0", "IQ4_NL") else 2.5e-2)


@pytest.mark.parametrize("layout", INT8 + FLOAT)
@pytest.mark.parametrize("way", ["transposed", "transposed_exact", "transposed_coarse"])
def test_every_instruction_set_gives_the_plain_gradients(random, layout, way):
    for rows, columns, tokens in [*SHAPES, *(() if layout.endswith("K") else SHORT[:2]), (70, 256, 530)]:
        weights, _ = packed_weights(random, layout, rows, columns)
        dy, start = floats(random, tokens, rows), floats(random, tokens, columns)
        for accumulate in (False, True):
            plain, *others = (
                getattr(Products(instruction_set=each), way)(weights, dy, out=start.copy(), accumulate=accumulate)
                for each in SETS
            )
            for other in others:
                np.testing.assert_array_equal(other, plain)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", ["MXFP4", "Q4_K", "Q6_K", "BF16"])
@pytest.mark.parametrize("way", ["transposed", "transposed_exact", "transposed_coarse"])
def test_threads_and_batches_do_not_change_a_gradient(random, instruction_set, layout, way):
    weights, _ = packed_weights(random, layout, 300, 768)
    dy = floats(random, 530, 300)  # more than share an unpacked panel

    def product(given, threads=1):
        return getattr(Products(threads, instruction_set=instruction_set), way)(weights, given)

    expected = product(dy)
    for threads in (2, 3):
        np.testing.assert_array_equal(product(dy, threads), expected)
    for begin, end in [(0, 1), (1, 2), (3, 8), (5, 140), (500, 530), (529, 530)]:
        np.testing.assert_array_equal(product(dy[begin:end]), expected[begin:end])


def test_a_mistake_in_the_gradient_is_noticed(random):
    """What the tolerance is for: each of these is a plausible fault of a kernel."""
    weights, decoded = packed_weights(random, "Q4_1", 300, 256)
    dy = floats(random, 33, 300)
    result = Products().transposed_exact(weights, dy)
    assert_is_transposed_product(result, decoded, dy)
    without_last, scale_off = decoded.copy(), decoded.copy()
    without_last[-1] = 0
    scale_off[7, :32] *= 1 + 2.0**-11  # one scale of 16 bits, one unit off
    for wrong in (decoded[np.r_[1, 0, 2:300]], without_last, scale_off, decoded[:, ::-1]):
        with pytest.raises(AssertionError):
            assert_is_transposed_product(result, wrong, dy)
    with pytest.raises(AssertionError):  # that of 16 bits is another
        assert_is_transposed_product(Products().transposed(weights, dy), decoded, dy)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", ["MXFP4", "Q4_1", "F16"])
@pytest.mark.parametrize("way", ["transposed", "transposed_exact", "transposed_coarse"])
def test_gradients_of_an_expert_are_gathered_scattered_and_added(random, instruction_set, layout, way):
    weights, _ = packed_experts(random, layout, 3, 40, 64)
    dy = floats(random, 30, 40)
    chosen = random.permutation(30)[:19].astype(np.int32)
    slots = random.permutation(50)[:19].astype(np.int32)
    before = floats(random, 50, 64)
    product = getattr(Products(2, instruction_set=instruction_set), way)
    of_all = product(weights, dy, expert=1)
    size = packing.packed_bytes(layout, 40, 64)
    alone = linear.Packed(layout, 40, 64, weights.data[size : 2 * size])
    np.testing.assert_array_equal(of_all, product(alone, dy))
    for accumulate in (False, True):
        out = before.copy()
        product(weights, dy, expert=1, from_rows=chosen, out=out, out_rows=slots, accumulate=accumulate)
        np.testing.assert_array_equal(out[slots], of_all[chosen] + (before[slots] if accumulate else 0))
        np.testing.assert_array_equal(np.delete(out, slots, axis=0), np.delete(before, slots, axis=0))


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("way", ["transposed", "transposed_exact", "transposed_coarse"])
def test_an_infinite_gradient_spoils_its_token_and_no_other(random, instruction_set, bad, way):
    weights, _ = packed_weights(random, "Q4_1", 40, 64)
    dy = floats(random, 20, 40)
    product = getattr(Products(instruction_set=instruction_set), way)
    before = product(weights, dy)
    dy[7, 30] = bad
    after = product(weights, dy)
    assert not np.isfinite(after[7]).any()
    np.testing.assert_array_equal(np.delete(after, 7, axis=0), np.delete(before, 7, axis=0))


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("way", ["transposed", "transposed_exact", "transposed_coarse"])
@pytest.mark.parametrize("field", ["scale", "minimum"])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_an_infinite_scale_spoils_its_columns_and_no_others(random, instruction_set, way, field, bad):
    data = encoded(random, "Q4_1", 40, 64).view(RECORDS["Q4_1"]).reshape(40, 2)
    dy = floats(random, 20, 40)
    product = getattr(Products(instruction_set=instruction_set), way)

    def result():
        packed, _ = packing.pack("Q4_1", data.view(np.uint8).reshape(-1), 40, 64)
        return product(linear.Packed("Q4_1", 40, 64, packed), dy)

    before = result()
    data[field][33, 1] = bad
    after = result()
    assert not np.isfinite(after[:, 32:]).any()
    np.testing.assert_array_equal(after[:, :32], before[:, :32])


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("layout", INT8)
@pytest.mark.parametrize("byte", [0x00, 0xFF, 0x77, 0x88, 0x80, 0x7F])
def test_the_largest_codes_and_gradients_do_not_overflow(random, instruction_set, layout, byte):
    """Every code and every gradient at an end of its range, all of one sign."""
    rows, columns = 128, 256
    data = encoded(random, layout, rows, columns).view(RECORDS[layout])
    for name in data.dtype.names:
        bits = np.array(1.0, np.float16) if name in ("scale", "minimum") else np.array(byte, np.uint8)
        data[name] = bits.astype(data.dtype[name].base) if name != "exponent" else 127
    encoded_bytes = data.view(np.uint8)
    packed, _ = packing.pack(layout, encoded_bytes, rows, columns)
    decoded = decode(layout, encoded_bytes, (rows, columns)).astype(np.float64)
    dy = np.ones((5, rows), np.float32)
    result = Products(instruction_set=instruction_set).transposed(linear.Packed(layout, rows, columns, packed), dy)
    size = np.abs(decoded).max() + (32 if layout in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else 0) * 64
    np.testing.assert_allclose(result, dy @ decoded, rtol=0, atol=2.0**-14 * rows * size)


@pytest.mark.parametrize("instruction_set", SETS)
def test_zeros_give_zeros_and_tiny_gradients_count_as_zeros(random, instruction_set):
    weights, _ = packed_weights(random, "Q4_1", 40, 64)
    products = Products(instruction_set=instruction_set)
    assert not products.transposed_exact(weights, np.zeros((3, 40), np.float32)).any()
    assert not products.transposed(weights, np.full((3, 40), 2.0**-101, np.float32)).any()
    small = products.transposed(weights, np.full((3, 40), 2.0**-99, np.float32))
    np.testing.assert_array_equal(small * 2.0**99, products.transposed(weights, np.ones((3, 40), np.float32)))


def test_the_transposed_product_is_the_gradient_of_the_exact_one(random):
    """<y, dy> = <x, dx>: whatever x and dy are."""
    weights, _ = packed_weights(random, "MXFP4", 200, 96)
    x, dy = floats(random, 9, 96), floats(random, 9, 200)
    products = Products()
    y, dx = products.linear_exact(weights, x), products.transposed_exact(weights, dy)
    forward, backward = (y * dy.astype(np.float64)).sum(), (x * dx.astype(np.float64)).sum()
    assert forward == pytest.approx(backward, abs=1e-6 * float(np.abs(y).sum()))


# ---- not transposed


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("layout", INT8 + FLOAT)
def test_products_are_those_that_programs_compute(random, layout, threads):
    """linear.matmul is what a program calls; the kernels' own tests hold it to NumPy."""
    products = Products(threads)
    for rows, tokens in [(15, 1), (48, 33), (300, 130)]:
        weights, _ = packed_weights(random, layout, rows, 512)
        x, bias = floats(random, tokens, 512), floats(random, rows)
        exact = linear.matmul(weights, x, bias=bias)
        served, logits = exact, exact
        if layout in INT8:
            served = linear.matmul(weights, linear.quantise(x), bias=bias)
            logits = linear.matmul(weights, linear.quantise_wide(x), bias=bias)
            assert np.any(served != exact)
        np.testing.assert_array_equal(products.linear(weights, x, bias=bias), served)
        np.testing.assert_array_equal(products.linear_exact(weights, x, bias=bias), exact)
        np.testing.assert_array_equal(products.logits(weights, x, bias=bias), logits)


@pytest.mark.parametrize("layout", ["MXFP4", "BF16"])
@pytest.mark.parametrize("way", ["linear", "linear_exact"])
def test_an_experts_tokens_are_gathered_scattered_and_added(random, layout, way):
    weights, decoded = packed_experts(random, layout, 3, 40, 64)
    x = floats(random, 30, 64)
    chosen = random.permutation(30)[:19].astype(np.int32)
    slots = random.permutation(50)[:19].astype(np.int32)
    out = np.full((50, 40), 7, np.float32)
    product = getattr(Products(2), way)
    whole = product(weights, x, expert=2)
    assert np.corrcoef(whole.ravel(), (x @ decoded[2].T).ravel())[0, 1] > 0.999
    product(weights, x, expert=2, from_rows=chosen, out=out, out_rows=slots, accumulate=True)
    np.testing.assert_array_equal(out[slots], 7 + whole[chosen])
    assert np.all(np.delete(out, slots, axis=0) == 7)


@pytest.mark.parametrize("threads", [1, 2])
def test_several_python_threads_may_call_at_once(random, threads):
    weights, _ = packed_weights(random, "Q4_1", 300, 512)
    inputs = [(floats(random, 20 + n, 512), floats(random, 20 + n, 300)) for n in range(4)]
    products = Products(threads)
    expected = [(products.linear(weights, x), products.transposed(weights, dy)) for x, dy in inputs]
    wrong = []

    def work(n):
        x, dy = inputs[n]
        for _ in range(20):
            found = products.linear(weights, x), products.transposed(weights, dy)
            wrong.extend(n for one, other in zip(found, expected[n], strict=True) if not np.array_equal(one, other))

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert not wrong


# ---- what is refused


def test_arrays_that_do_not_fit_are_refused(random):
    weights, _ = packed_weights(random, "Q4_1", 48, 64)
    products, x, dy = Products(), floats(random, 5, 64), floats(random, 5, 48)
    rows = np.arange(5, dtype=np.int32)
    for call in (
        lambda: products.linear(weights, dy),
        lambda: products.linear(weights, x.astype(np.float64)),
        lambda: products.linear(weights, floats(random, 64, 5).T),
        lambda: products.linear(weights, x, bias=floats(random, 47)),
        lambda: products.linear(weights, x, out=floats(random, 4, 48)),
        lambda: products.linear(weights, x, accumulate=True),
        lambda: products.linear(weights, x, from_rows=rows + 1),
        lambda: products.linear(weights, x, expert=1),
        lambda: products.transposed(weights, x),
        lambda: products.transposed(weights, dy, out=floats(random, 5, 48)),
        lambda: products.transposed(weights, dy, out_rows=rows),
        lambda: products.transposed(weights, dy, out=x, out_rows=rows + 1),
        lambda: products.transposed(weights, dy, from_rows=rows.astype(np.int64)),
        lambda: products.transposed(packed_experts(random, "Q4_1", 2, 48, 64)[0], dy),
        lambda: Products(0),
        lambda: Products(instruction_set="avx1024"),
    ):
        with pytest.raises(ValueError, match=r"expected|expert|need"):
            call()
