"""Causal attention of one sequence with its gradients, for training: in float32, nothing kept but a number or two for
each query and head.

q is (tokens, heads, head_dim) and belongs to the last tokens of keys (length, kv_heads, head_dim) and values (length,
kv_heads, value_dim); `window` is how many tokens each sees, itself included (None: all); sinks (heads,) are scores that
take their share and give nothing.
"""

from dataclasses import dataclass

import numpy as np

from ouvert.kernels.linear import check_floats
from ouvert.kernels.products import Products


@dataclass(frozen=True, slots=True, eq=False)
class Attended:
    """What attention was given, and what came of it: out (tokens, heads, value_dim), and the `shares` (heads, 2,
    tokens) that the way back needs."""

    q: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    sinks: np.ndarray | None
    scale: float
    window: int | None
    out: np.ndarray
    shares: np.ndarray


def attend(
    products: Products,
    q: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    *,
    scale: float,
    window: int | None = None,
    sinks: np.ndarray | None = None,
) -> Attended:
    """`arithmetic.attend`, on the threads of `products`. Raises ValueError for shapes that do not fit."""
    check_floats("q", q, (None, None, None))
    check_floats("keys", keys, (None, None, q.shape[2]))
    check_floats("values", values, (len(keys), keys.shape[1], None))
    if sinks is not None:
        check_floats("sinks", sinks, (q.shape[1],))
    if q.shape[1] % max(1, keys.shape[1]) or len(q) > len(keys) or (window is not None and window < 1):
        raise ValueError(
            f"attention: q {q.shape}, keys {keys.shape}, window {window}; expected whole groups of query heads, a key "
            "for every token, and a window of at least 1."
        )
    out = np.empty((len(q), q.shape[1], values.shape[2]), np.float32)
    shares = np.empty((q.shape[1], 2, len(q)), np.float32)
    products.native.attend(q, keys, values, sinks, scale, window or 0, out, shares)
    return Attended(q, keys, values, sinks, scale, window, out, shares)


def attend_back(
    products: Products, of: Attended, dy: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """The gradients by q, keys, values and sinks, given that by `out`. Raises ValueError if that is of another
    shape."""
    check_floats("dy", dy, of.out.shape)
    dq, dkeys, dvalues = np.empty_like(of.q), np.empty_like(of.keys), np.empty_like(of.values)
    dsinks = None if of.sinks is None else np.empty_like(of.sinks)
    given = (of.q, of.keys, of.values, of.sinks, of.scale, of.window or 0, of.out, of.shares)
    products.native.attend_back(*given, dy, dq, dkeys, dvalues, dsinks)
    return dq, dkeys, dvalues, dsinks
