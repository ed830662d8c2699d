"""Tables, matrices and norms: everything that treats each token by itself."""

from typing import Any

import numpy as np

from ouvert.arithmetic.adapters import Carrier

Array = np.ndarray[Any, np.dtype[Any]]


def embed(ids: Array, table: Array) -> Array:
    """The rows of `table` (vocabulary, hidden) that belong to `ids` (tokens,) -> (tokens, hidden).

    Raises ValueError for an id that the table does not have.
    """
    if ids.size and not (int(ids.min()) >= 0 and int(ids.max()) < len(table)):
        raise ValueError(
            f"embed: token ids run from {ids.min()} to {ids.max()}, expected 0 to {len(table) - 1}. "
            "Were they made by another model's tokenizer?"
        )
    return np.asarray(table[ids])


def linear(x: Array, weight: Array | Carrier, bias: Array | None = None) -> Array:
    """x (tokens, in) times weight (out, in), transposed -> (tokens, out). And what is added to the weight's product, if
    it carries additions.

    Raises ValueError if x and weight differ in their columns.
    """
    if isinstance(weight, Carrier):
        return weight.added(x, linear(x, weight.weight, bias))
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"linear: x has {x.shape[-1]} columns, expected {weight.shape[-1]} as in weight {weight.shape}. "
            "Weights are (out, in)."
        )
    product = x @ weight.T
    return np.asarray(product if bias is None else product + bias)


def rms_norm(x: Array, weight: Array, eps: float, groups: int = 1) -> Array:
    """The last axis of x divided by its root mean square, times weight. float64 inside, x's type outside.

    With `groups`, the last axis is cut into so many equal parts, and each is divided by a root mean square of its own.

    Zhang and Sennrich, Root Mean Square Layer Normalization, arXiv:1910.07467; groups: Dao and Gu, arXiv:2405.21060,
    section 7.2. Raises ValueError if the groups do not cut the last axis evenly.
    """
    wide = x.astype(np.float64).reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    normed = wide / np.sqrt(np.mean(wide**2, axis=-1, keepdims=True) + eps)
    return np.asarray((normed.reshape(x.shape) * weight).astype(x.dtype))


def heads(x: Array, head_dim: int) -> Array:
    """(tokens, heads * head_dim) -> (tokens, heads, head_dim).

    Raises ValueError if head_dim does not divide the columns.
    """
    return x.reshape(len(x), -1, head_dim)


def linear_heads(x: Array, weight: Any) -> Array:
    """Each head's columns of x (tokens, heads * in) times its own matrix weight[h] (out, in).

    -> (tokens, heads * out)

    Raises ValueError if the columns of x are not cut evenly by the heads of weight.
    """
    heads = len(weight)
    return np.concatenate([part @ weight[h].T for h, part in enumerate(np.split(x, heads, axis=1))], axis=1)


def join(a: Array, b: Array, heads: int) -> Array:
    """Head by head, the columns of a (tokens, heads * m), then those of b (tokens, heads * n).

    -> (tokens, heads * (m + n))

    Raises ValueError if `heads` does not divide the columns of both.
    """
    both = [part.reshape(len(a), heads, -1) for part in (a, b)]
    return np.concatenate(both, axis=2).reshape(len(a), -1)


def select(x: Array, rows: Array) -> Array:
    """The rows of x that somebody wants, in that order. Raises IndexError for a row that x does not have."""
    return np.asarray(x[rows])
