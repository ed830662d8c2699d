"""Tables, matrices, norms and gates, on numbers small enough to check by eye."""

import numpy as np
import pytest

from ouvert import arithmetic


def test_embed_looks_up_rows():
    table = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(arithmetic.embed(np.array([2, 0, 2]), table), [[4, 5], [0, 1], [4, 5]])


@pytest.mark.parametrize("wrong", [-1, 3])
def test_ids_outside_the_table_are_named(wrong):
    with pytest.raises(ValueError, match=r"expected 0 to 2\. Were they made by another model's tokenizer"):
        arithmetic.embed(np.array([0, wrong]), np.zeros((3, 2)))


def test_linear_weights_are_out_by_in():
    weight = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    np.testing.assert_array_equal(arithmetic.linear(np.array([[1.0, 10.0]]), weight), [[21, 10, 3]])
    np.testing.assert_array_equal(
        arithmetic.linear(np.array([[1.0, 10.0]]), weight, np.array([1.0, 1.0, 1.0])), [[22, 11, 4]]
    )
    with pytest.raises(ValueError, match="x has 3 columns, expected 2"):
        arithmetic.linear(np.zeros((1, 3)), weight)


def test_rms_norm_by_hand():
    normed = arithmetic.rms_norm(np.array([[3.0, 4.0]]), np.array([1.0, 2.0]), 0.0)
    np.testing.assert_allclose(normed, [[3 / 12.5**0.5, 8 / 12.5**0.5]])
    small = arithmetic.rms_norm(np.array([[1e-3, 1e-3]]), np.ones(2), 1e-6)
    np.testing.assert_allclose(small, [[0.5**0.5, 0.5**0.5]])


def test_rms_norm_works_head_by_head_and_keeps_the_type():
    x = np.random.default_rng(1).standard_normal((3, 2, 8)).astype(np.float32)
    normed = arithmetic.rms_norm(x, np.ones(8, np.float32), 0.0)
    assert normed.dtype == np.float32
    np.testing.assert_allclose(np.mean(normed**2, axis=-1), np.ones((3, 2)), rtol=1e-6)


def test_gates_by_hand():
    gate, up = np.array([0.0, 1.0, -1.0, 200.0, -200.0]), np.array([5.0, 2.0, 2.0, 2.0, 2.0])
    np.testing.assert_allclose(
        arithmetic.swiglu(gate, up), [0, 2 / (1 + np.exp(-1)), -2 / (1 + np.e), 400, 0], atol=1e-80
    )


def test_the_clamped_gate_is_limited_above_and_up_on_both_sides():
    alpha, limit = 1.702, 7.0
    gate, up = np.array([1.0, 9.0, -9.0, 1.0, 1.0]), np.array([2.0, 0.0, 0.0, 90.0, -90.0])
    sigmoid = 1 / (1 + np.exp(-alpha * np.array([1.0, 7.0, -9.0, 1.0, 1.0])))
    expected = np.array([1.0, 7.0, -9.0, 1.0, 1.0]) * sigmoid * np.array([3.0, 1.0, 1.0, 8.0, -6.0])
    np.testing.assert_allclose(arithmetic.clamped_swiglu(gate, up, alpha, limit), expected)


def test_large_negative_gates_warn_nobody_in_float32():
    assert arithmetic.silu(np.array([-1000.0], np.float32))[0] == 0
