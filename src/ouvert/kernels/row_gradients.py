"""Operations on rows with their gradients, for training, on the threads of some `Products`: as rows.h has them, so with
the bits of a program.

Everything is float32. All of these raise ValueError for arrays of another type or shape.
"""

import numpy as np

from ouvert.kernels.linear import check_floats, check_rows
from ouvert.kernels.products import Products


def rms_norm(products: Products, x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """Of every row of x (rows, width). Row n is multiplied by weight (groups, width)[n % groups]. Raises
    ValueError for shapes that do not fit."""
    check_floats("x", x, (None, None))
    check_floats("weight", weight, (None, x.shape[1]))
    out = np.empty_like(x)
    products.native.rms_norm(x, weight, eps, out)
    return out


def rms_norm_back(products: Products, x: np.ndarray, weight: np.ndarray, eps: float, dy: np.ndarray) -> np.ndarray:
    """The gradient by x, given that by the result. Raises ValueError for shapes that do not fit."""
    check_floats("x", x, (None, None))
    check_floats("weight", weight, (None, x.shape[1]))
    check_floats("dy", dy, x.shape)
    out = np.empty_like(x)
    products.native.rms_norm_back(x, weight, eps, dy, out)
    return out


def rotate(products: Products, x: np.ndarray, cosines: np.ndarray, sines: np.ndarray) -> np.ndarray:
    """`arithmetic.rotate` of x (tokens, heads, head_dim) by angles whose cosines and sines these are, (tokens,
    rotary_dim / 2) each. The way back turns by the same angles the other way: their sines are negative. Raises
    ValueError for shapes that do not fit."""
    check_floats("x", x, (None, None, None))
    check_floats("cosines", cosines, (len(x), None))
    check_floats("sines", sines, cosines.shape)
    if 2 * cosines.shape[1] > x.shape[2]:
        raise ValueError(f"rotate: heads are {x.shape[2]} wide, expected at least two for each of {cosines.shape[1]}.")
    out = np.empty_like(x)
    products.native.rotate(x, cosines, sines, out)
    return out


def swiglu(products: Products, gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """silu(gate) * up, of (rows, width) each. Raises ValueError for shapes that do not fit."""
    check_floats("gate", gate, (None, None))
    check_floats("up", up, gate.shape)
    out = np.empty_like(gate)
    products.native.swiglu(gate, up, out)
    return out


def swiglu_back(products: Products, gate: np.ndarray, up: np.ndarray, dy: np.ndarray) -> None:
    """Writes the gradients by gate and up into these, given that by the result. Raises ValueError for
    shapes that do not fit."""
    check_floats("gate", gate, (None, None))
    check_floats("up", up, gate.shape)
    check_floats("dy", dy, gate.shape)
    products.native.swiglu_back(gate, up, dy)


def log_probability_back(products: Products, logits: np.ndarray, log_totals: np.ndarray, ids: np.ndarray) -> None:
    """Writes into logits (rows, vocabulary) how the log-probability of one id of each row changes with them, which is
    its logit less that row's log_total; ids are int32 (rows,). Raises ValueError for shapes that do not fit."""
    check_floats("logits", logits, (None, None))
    check_floats("log_totals", log_totals, (len(logits),))
    check_rows("ids", ids, logits.shape[1])
    if len(ids) != len(logits):
        raise ValueError(
            f"log_probability_back: {len(ids)} ids for {len(logits)} rows of logits, expected one for each."
        )
    products.native.log_probability_back(logits, log_totals, ids)
