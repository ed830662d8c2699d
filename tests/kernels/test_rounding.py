"""Floats rounded to fewer bits: the numbers that are found, what they lose, and that they are the same everywhere."""

import numpy as np
import pytest

from ouvert.kernels import packing
from ouvert.kernels.linear import available_instruction_sets

# Layout -> most relative error for normally distributed weights: about a tenth above what is found, and below what a
# scale that is taken from the largest weights alone would lose.
LAYOUTS = {"Q4_1": 0.075, "Q5_1": 0.037, "Q4_K": 0.075, "Q5_K": 0.040, "Q6_K": 0.022}


def weights_of(rows, columns, seed=0):
    """Normally distributed, with rows of different sizes, some large columns, a zero row and a constant row."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((rows, columns)) * random.uniform(0.005, 0.1, (rows, 1))
    values[:, random.integers(0, columns, 3)] *= 4
    return values.astype(np.float32)


def rounded(values, layout, **settings):
    packed, loss = packing.pack("F32", values.reshape(-1).view(np.uint8), *values.shape, layout=layout, **settings)
    return packed, packing.unpack(layout, packed, *values.shape), loss


def naive(values, most, block=32):
    """Codes 0 .. most between the least and the largest of a block: what a search has to be better than."""
    blocks = values.reshape(-1, block)
    low = blocks.min(axis=1, keepdims=True)
    scale = (blocks.max(axis=1, keepdims=True) - low) / most
    return (np.rint((blocks - low) / scale) * scale + low).reshape(values.shape)


def relative(values, others):
    return float(np.sqrt(((values - others) ** 2).sum() / (values**2).sum()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_little_is_lost_and_as_much_as_is_said(layout):
    values = weights_of(48, 512)
    _, found, loss = rounded(values, layout)
    assert relative(values, found) == pytest.approx(loss.relative, rel=1e-4)
    assert 0 < loss.relative < LAYOUTS[layout]


@pytest.mark.parametrize(("layout", "most"), [("Q4_K", 15), ("Q4_1", 15), ("Q5_K", 31), ("Q5_1", 31)])
def test_a_search_loses_less_than_the_range_alone(layout, most):
    """The K layouts too, although their scales have 6 bits and the ones here 32."""
    values = weights_of(48, 512)
    assert rounded(values, layout)[2].relative < 0.95 * relative(values, naive(values, most))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rows", [1, 15, 16, 40])
def test_every_instruction_set_and_number_of_threads_finds_the_same_bits(layout, rows):
    columns = 512 if layout.endswith("K") else 352
    values = weights_of(rows, columns, seed=rows)
    expected = rounded(values, layout, instruction_set="plain")
    for instruction_set in available_instruction_sets():
        for threads in (1, 3):
            packed, _, loss = rounded(values, layout, instruction_set=instruction_set, threads=threads)
            assert np.array_equal(packed, expected[0])
            assert loss == expected[2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_rounded_alone(layout):
    """So any piece of a matrix packs into the bytes that it has in the whole."""
    values = weights_of(32, 512)
    whole, part = rounded(values, layout)[1], rounded(values[16:], layout)[1]
    np.testing.assert_array_equal(whole[16:], part)
    np.testing.assert_array_equal(rounded(values[5:6], layout)[1], whole[5:6])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("encoding", ["BF16", "F16"])
def test_sixteen_bits_are_rounded_as_their_numbers(layout, encoding):
    values = weights_of(16, 256)
    if encoding == "BF16":
        codes = (values.view(np.uint32) >> 16).astype(np.uint16)
        values = (codes.astype(np.uint32) << 16).view(np.float32)
    else:
        codes = values.astype(np.float16)
        values = codes.astype(np.float32)
    packed, _ = packing.pack(encoding, codes.reshape(-1).view(np.uint8), *values.shape, layout=layout)
    assert np.array_equal(packed, rounded(values, layout)[0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_the_layout_has_is_kept(layout):
    """Zeros, constants, and values on the layout's own grid: rounding them again changes next to nothing."""
    values = weights_of(16, 256)
    values[3], values[4], values[5], values[6] = 0.0, 0.02, -0.02, 1e-30
    _, found, _ = rounded(values, layout)
    assert not found[3].any()
    np.testing.assert_allclose(found[4:6], values[4:6], rtol=0.01)
    assert np.abs(found[6]).max() < 1e-7
    on_grid = rounded(weights_of(16, 256), layout)[1]
    assert relative(on_grid, rounded(on_grid, layout)[1]) < 0.2 * LAYOUTS[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6])
def test_what_no_scale_can_hold_is_refused(layout, value):
    values = weights_of(16, 256)
    values[7, 100] = value
    with pytest.raises(ValueError, match="not a number or too large for the layout"):
        rounded(values, layout)


def test_a_planted_mistake_in_a_scale_shows():
    """The bound on what is lost notices a scale that is a tenth too large."""
    values = weights_of(48, 512)
    assert relative(values, 1.1 * rounded(values, "Q4_K")[1]) > LAYOUTS["Q4_K"]
