"""MXINT8: held to its definition in whole numbers, and to what other formats hold exactly."""

import math
from fractions import Fraction

import numpy as np
import pytest

from ouvert.arithmetic import as_mxint8, is_mxint8
from ouvert.weights import encode


def in_fractions(row):
    """The definition, number by number: the least n that leaves codes of 127 at most, and the nearest of these."""
    found = []
    for begin in range(0, len(row), 32):
        block = [Fraction(float(value)) for value in row[begin : begin + 32]]
        n = -24
        while round(max(map(abs, block)) / Fraction(2) ** n) > 127:
            n += 1
        found += [float(round(value / Fraction(2) ** n) * Fraction(2) ** n) for value in block]
    return np.float32(found)


def numbers(columns, rows=6):
    random = np.random.default_rng(columns)
    return np.float32(random.standard_normal((rows, columns)) * np.exp2(random.integers(-30, 20, (rows, 1))))


@pytest.mark.parametrize("columns", [1, 8, 16, 31, 32, 33, 576])
def test_numbers_are_rounded_as_defined(columns):
    values = numbers(columns)
    np.testing.assert_array_equal(as_mxint8(values), [in_fractions(row) for row in values])


@pytest.mark.parametrize("largest", [127, 127.49, 127.5, 63.5, 64, 2**-18 * 1.1, 2.0**-26])
def test_ties_and_the_edges_of_a_code_s_range_are_as_defined(largest):
    values = np.float32([[largest, -largest / 2, 0.5, 1.5, -2.5, 0, -0.0, largest / 127]])
    found = as_mxint8(values)
    np.testing.assert_array_equal(found[0], in_fractions(values[0]))
    assert not np.signbit(found[found == 0]).any()


@pytest.mark.parametrize("columns", [8, 33, 576])
def test_rounding_again_changes_nothing_and_bf16_holds_every_number(columns):
    found = as_mxint8(numbers(columns))
    np.testing.assert_array_equal(as_mxint8(found), found)
    assert is_mxint8(found)
    halves = encode("BF16", found).view(np.uint16).astype(np.uint32) << 16
    np.testing.assert_array_equal(halves.view(np.float32).reshape(found.shape), found)


def test_blocks_are_those_of_a_row_whatever_stands_before_it():
    values = numbers(33, rows=12).reshape(3, 4, 33)
    np.testing.assert_array_equal(as_mxint8(values), [[as_mxint8(row) for row in each] for each in values])


def test_one_number_that_takes_another_bit_is_noticed():
    found = as_mxint8(numbers(64))
    for row in (0, 5):
        other = found.copy()
        other[row, 40] += np.abs(other[row, 32:]).max() / 2**8
        assert not is_mxint8(other)
    assert not is_mxint8(np.float32([[math.inf, 1]]))
    assert not is_mxint8(np.float32([[math.nan, 1]]))
    assert not is_mxint8(np.float32([[2.0**46]]))
    assert is_mxint8(np.float32([[2.0**45, 0]]))


def test_what_is_lost_is_less_than_a_hundredth():
    """Half a step of 2^n is 1/128 of the largest of 32 at most: of normal numbers 0.8 % in the mean of squares."""
    values = np.random.default_rng(0).standard_normal((64, 576)).astype(np.float32)
    lost = np.linalg.norm(as_mxint8(values) - values) / np.linalg.norm(values)
    assert 0.005 < lost < 0.01
