"""Norms and gates against their twins in arithmetic, and the instruction sets against one another."""

import numpy as np
import pytest

from ouvert import arithmetic
from ouvert.kernels import _native
from ouvert.kernels.linear import available_instruction_sets

# 24 bits; sums of a few thousand values in 32 lanes, and 2^x within 1e-7, cost a handful of them.
TOLERANCE = {"rtol": 3e-6, "atol": 1e-7}
WIDTHS = [1, 15, 16, 17, 31, 33, 576, 2880]


@pytest.fixture
def random():
    return np.random.default_rng(3)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_rms_norm(width, scale, random):
    x = (random.standard_normal((5, width)) * scale).astype(np.float32)
    weight = random.standard_normal(width).astype(np.float32)
    results = [np.empty_like(x) for _ in available_instruction_sets()]
    for name, out in zip(available_instruction_sets(), results, strict=True):
        _native.rms_norm(name, x, weight, 1e-5, out)
        np.testing.assert_allclose(out, arithmetic.rms_norm(x, weight, 1e-5), **TOLERANCE)
        np.testing.assert_array_equal(out, results[0])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scale", [0.1, 5.0, 200.0])
def test_gates(width, scale, random):
    gate, up = (random.standard_normal((2, 3, width)) * scale).astype(np.float32)
    plain, clamped = [], []
    for name in available_instruction_sets():
        plain.append(np.empty_like(gate))
        _native.swiglu(name, gate, up, plain[-1])
        clamped.append(np.empty_like(gate))
        _native.clamped_swiglu(name, gate, up, 1.702, 7.0, clamped[-1])
    np.testing.assert_allclose(plain[0], arithmetic.swiglu(gate, up), **TOLERANCE)
    np.testing.assert_allclose(clamped[0], arithmetic.clamped_swiglu(gate, up, 1.702, 7.0), **TOLERANCE)
    for results in (plain, clamped):
        for result in results:
            np.testing.assert_array_equal(result, results[0])


def test_the_tolerance_would_notice_a_forgotten_clamp(random):
    gate, up = (random.standard_normal((2, 64)) * 10).astype(np.float32)
    out = np.empty_like(gate)
    _native.clamped_swiglu("plain", gate, up, 1.702, 7.0, out)
    assert not np.allclose(out, gate / (1 + np.exp(-1.702 * gate)) * (up + 1), **TOLERANCE)
