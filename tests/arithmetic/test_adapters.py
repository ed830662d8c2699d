"""Weights that carry additions, in NumPy: what `linear` and `mix_experts` make of them."""

import numpy as np
import pytest

from ouvert.arithmetic import Carrier, Experts, LowRank, Ops, linear, mix_experts
from ouvert.arithmetic.experts import each_expert


def numbers(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


def addition(rank, rows, columns, scale=0.75, experts=None):
    many = () if experts is None else (len(experts),)
    return LowRank(
        np.float32(numbers(*many, rank, columns)), np.float32(numbers(*many, rows, rank)), scale, experts=experts
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-5), (np.float64, 1e-13)])
@pytest.mark.parametrize("rank", [1, 4, 17])
@pytest.mark.parametrize("tokens", [1, 5])
def test_a_product_and_its_additions_one_number_at_a_time(dtype, tolerance, rank, tokens):
    """Sums of at most 33 products of numbers around 1, divided by the largest."""
    x, weight = numbers(tokens, 33).astype(dtype), numbers(7, 33).astype(dtype)
    one, two = addition(rank, 7, 33), addition(rank + 1, 7, 33, scale=-2.0)
    expected = np.zeros((tokens, 7))
    for t in range(tokens):
        for row in range(7):
            expected[t, row] = sum(float(weight[row, c]) * float(x[t, c]) for c in range(33))
            for each in (one, two):
                for r in range(each.rank):
                    low = sum(float(each.a[r, c]) * float(x[t, c]) for c in range(33))
                    expected[t, row] += each.scale * float(each.b[row, r]) * low
    found = Ops(dtype).linear(x, Carrier(weight, (one, two)))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_a_bias_is_added_once():
    x, weight, bias = numbers(3, 8), numbers(5, 8), numbers(5)
    carrier = Carrier(weight, (addition(2, 5, 8),))
    np.testing.assert_allclose(linear(x, carrier, bias), linear(x, carrier) + bias, rtol=1e-14)


def test_a_weight_that_carries_nothing_is_itself():
    x, weight = numbers(3, 8), numbers(5, 8)
    np.testing.assert_array_equal(linear(x, Carrier(weight, ())), linear(x, weight))


@pytest.mark.parametrize("limit", [None, 7.0])
def test_experts_carry_additions_of_their_own_and_others_are_left_alone(limit):
    x, chosen = numbers(9, 8), np.array([[t % 4, (t + 1 + t // 4) % 4] for t in range(9)], np.int32)
    shares = np.abs(numbers(9, 2))
    plain = {"gate": numbers(4, 6, 8), "up": numbers(4, 6, 8) * 2, "down": numbers(4, 8, 6)}
    added = {
        "gate": addition(2, 6, 8, experts=(0, 3)),
        "up": addition(3, 6, 8, experts=(1,)),
        "down": addition(2, 8, 6, experts=(0, 1, 3)),
    }
    merged = {name: weight.copy() for name, weight in plain.items()}
    for name, each in added.items():
        for n, e in enumerate(each.experts):
            merged[name][e] += each.scale * each.b[n].astype(float) @ each.a[n]
    carriers = {name: Carrier(weight, (added[name],)) for name, weight in plain.items()}
    for mix in (mix_experts, each_expert):
        expected = mix(x, Experts(**merged, limit=limit), chosen, shares)
        found = mix(x, Experts(**carriers, limit=limit), chosen, shares)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    alone = np.full((9, 2), 2, np.int32)
    np.testing.assert_array_equal(
        mix_experts(x, Experts(**carriers, limit=limit), alone, shares),
        mix_experts(x, Experts(**plain, limit=limit), alone, shares),
    )


def test_an_addition_times_a_factor():
    x, weight, one = numbers(3, 8), np.zeros((5, 8)), addition(2, 5, 8)
    np.testing.assert_allclose(linear(x, Carrier(weight, (one.scaled(3),))), 3 * linear(x, Carrier(weight, (one,))))
