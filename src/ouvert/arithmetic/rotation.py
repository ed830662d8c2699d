"""Rotary position embedding: pairs of numbers turned by an angle that grows with the position."""

from dataclasses import dataclass

import numpy as np

from ouvert.arithmetic.dense import Array


@dataclass(frozen=True, eq=False)
class Rope:
    """How fast each pair turns, in radians a token, and how much longer vectors become on the way (1: not at all).

    `inverse_frequencies` is float32 (rotary_dim / 2,). Values beyond rotary_dim pass unturned.
    """

    inverse_frequencies: Array
    magnitude: float = 1.0


def rotate(x: Array, positions: Array, rope: Rope) -> Array:
    """Turn x (tokens, heads, head_dim) to `positions` (tokens,). Element i pairs with element i + rotary_dim / 2.

    Angles, cosines and sines are computed in x's own type. Su et al., RoFormer, arXiv:2104.09864. Raises ValueError if
    rotary_dim is more than head_dim.
    """
    half = len(rope.inverse_frequencies)
    if 2 * half > x.shape[-1]:
        raise ValueError(f"rotate: heads have {x.shape[-1]} values, expected at least {2 * half} for this rope.")
    angles = positions.astype(x.dtype)[:, None] * rope.inverse_frequencies.astype(x.dtype)  # (tokens, half)
    cos = (np.cos(angles) * x.dtype.type(rope.magnitude))[:, None, :]  # the same for every head
    sin = (np.sin(angles) * x.dtype.type(rope.magnitude))[:, None, :]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)
