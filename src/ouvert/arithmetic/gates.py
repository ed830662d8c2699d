"""Gated activations of feed-forward layers."""

import numpy as np

from ouvert.arithmetic.dense import Array


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), element by element."""
    with np.errstate(over="ignore"):  # exp(large) is infinite, and one over infinity is the right answer
        return np.asarray(1 / (1 + np.exp(-x)))


def silu(x: Array) -> Array:
    """x * sigmoid(x), also called swish. Raises nothing."""
    return x * sigmoid(x)


def swiglu(gate: Array, up: Array) -> Array:
    """silu(gate) * up. Shazeer, GLU Variants Improve Transformer, arXiv:2002.05202. Raises nothing."""
    return silu(gate) * up


def clamped_swiglu(gate: Array, up: Array, alpha: float, limit: float) -> Array:
    """gpt-oss's variant: gate at most `limit`, up within ±`limit`; gate * sigmoid(alpha * gate) * (up + 1).

    Raises nothing.
    """
    gate = np.minimum(gate, limit)
    up = np.clip(up, -limit, limit)
    return np.asarray(gate * sigmoid(alpha * gate) * (up + 1))
