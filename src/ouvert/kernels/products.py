"""Products with packed weights for training: on threads of their own, outside a program, and transposed.

`x` and results of `linear` are float32 (tokens, columns) and (tokens, rows); `transposed` goes the other way. Arrays
may be views of tensors, as long as they are contiguous.
"""

import numpy as np

import ouvert.kernels._native as _native
from ouvert.kernels.linear import Packed, check_floats, check_rows
from ouvert.kernels.packing import packed_bytes


class Products:
    """Computes on `threads` threads. Several Python threads may call it at once: where `threads` is 1 each call runs in
    its caller's thread and they run side by side, otherwise they take turns. Numbers depend on none of that, nor on the
    instruction set.

    What all products take:

    expert      which one, of weights that hold several
    from_rows   int32 (tokens,): token t is row from_rows[t] of the input; left out, row t
    out         where results go; left out, a new array
    out_rows    int32 (tokens,): the row of `out` that token t goes to, each at most once
    accumulate  add to `out` instead of overwriting it

    Products raise ValueError for arrays of another type or shape, and for rows and experts that there are not. Making
    one raises ValueError for threads below 1 and for an instruction set that this machine does not have.
    """

    def __init__(self, threads: int = 1, *, instruction_set: str | None = None) -> None:
        if threads < 1:
            raise ValueError(f"Products: {threads} threads, expected at least 1.")
        self.native = _native.Products(threads, instruction_set or _native.best_instruction_set())

    @property
    def threads(self) -> int:
        """How many compute. Raises nothing."""
        count: int = self.native.threads
        return count

    def linear(
        self,
        weights: Packed,
        x: np.ndarray,
        *,
        expert: int | None = None,
        bias: np.ndarray | None = None,
        from_rows: np.ndarray | None = None,
        out: np.ndarray | None = None,
        out_rows: np.ndarray | None = None,
        accumulate: bool = False,
    ) -> np.ndarray:
        """x @ weights.T (+ bias) as a program computes it, bit for bit: activations are rounded to 8 bits, but for
        BF16, F16 and F32 weights. Raises ValueError for shapes that do not fit."""
        code_bytes = 1 if _native.takes_int8(weights.layout) else 0
        return self._linear(weights, x, code_bytes, expert, bias, from_rows, out, out_rows, accumulate)

    def linear_exact(
        self,
        weights: Packed,
        x: np.ndarray,
        *,
        expert: int | None = None,
        bias: np.ndarray | None = None,
        from_rows: np.ndarray | None = None,
        out: np.ndarray | None = None,
        out_rows: np.ndarray | None = None,
        accumulate: bool = False,
    ) -> np.ndarray:
        """The same in float32, as an exact program computes it. Raises ValueError for shapes that do not fit."""
        return self._linear(weights, x, 0, expert, bias, from_rows, out, out_rows, accumulate)

    def logits(
        self, weights: Packed, x: np.ndarray, *, bias: np.ndarray | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """x @ weights.T (+ bias) as a program computes its logits, bit for bit: activations are rounded to 16 bits, but
        for BF16, F16 and F32 weights. Raises ValueError for shapes that do not fit."""
        code_bytes = 2 if _native.takes_int8(weights.layout) else 0
        return self._linear(weights, x, code_bytes, None, bias, None, out, None, False)

    def transposed(
        self,
        weights: Packed,
        dy: np.ndarray,
        *,
        expert: int | None = None,
        from_rows: np.ndarray | None = None,
        out: np.ndarray | None = None,
        out_rows: np.ndarray | None = None,
        accumulate: bool = False,
    ) -> np.ndarray:
        """dy @ weights, the gradient of x in x @ weights.T: dy is (tokens, rows), the result (tokens, columns).

        dy and the weights' scales are rounded to 16 bits, but for BF16, F16 and F32 weights: the result is off by 1 or
        2 parts in 10,000, a hundredth of what rounding x to 8 bits costs `linear`. Raises ValueError for
        shapes that do not fit.
        """
        code_bytes = 2 if _native.takes_int8(weights.layout) else 0
        return self._transposed(weights, dy, code_bytes, expert, from_rows, out, out_rows, accumulate)

    def transposed_coarse(
        self,
        weights: Packed,
        dy: np.ndarray,
        *,
        expert: int | None = None,
        from_rows: np.ndarray | None = None,
        out: np.ndarray | None = None,
        out_rows: np.ndarray | None = None,
        accumulate: bool = False,
    ) -> np.ndarray:
        """The same with gradients, once they are scaled, in 8 bits, so off by 1 or 2 parts in 100 as `linear` is; but
        for Q8_0 and IQ4_NL, whose codes are too wide for that. Raises ValueError for shapes that do not fit."""
        code_bytes = 1 if _native.has_coarse(weights.layout) else 2 if _native.takes_int8(weights.layout) else 0
        return self._transposed(weights, dy, code_bytes, expert, from_rows, out, out_rows, accumulate)

    def transposed_exact(
        self,
        weights: Packed,
        dy: np.ndarray,
        *,
        expert: int | None = None,
        from_rows: np.ndarray | None = None,
        out: np.ndarray | None = None,
        out_rows: np.ndarray | None = None,
        accumulate: bool = False,
    ) -> np.ndarray:
        """The same in float32, at about 0.65 of the speed. Raises ValueError for shapes that do not fit."""
        return self._transposed(weights, dy, 0, expert, from_rows, out, out_rows, accumulate)

    def _linear(
        self,
        weights: Packed,
        x: np.ndarray,
        code_bytes: int,
        expert: int | None,
        bias: np.ndarray | None,
        from_rows: np.ndarray | None,
        out: np.ndarray | None,
        out_rows: np.ndarray | None,
        accumulate: bool,
    ) -> np.ndarray:
        one = of_expert(weights, expert)
        check_floats("x", x, (None, one.columns))
        check_rows("from_rows", from_rows, len(x))
        if bias is not None:
            check_floats("bias", bias, (one.rows,))
        out = checked_out(out, len(x) if from_rows is None else len(from_rows), one.rows, out_rows, accumulate)
        shape = (one.layout, one.rows, one.columns, one.data)
        self.native.linear(*shape, x, from_rows, code_bytes, out, bias, accumulate, out_rows)
        return out

    def _transposed(
        self,
        weights: Packed,
        dy: np.ndarray,
        code_bytes: int,
        expert: int | None,
        from_rows: np.ndarray | None,
        out: np.ndarray | None,
        out_rows: np.ndarray | None,
        accumulate: bool,
    ) -> np.ndarray:
        one = of_expert(weights, expert)
        check_floats("dy", dy, (None, one.rows))
        check_rows("from_rows", from_rows, len(dy))
        out = checked_out(out, len(dy) if from_rows is None else len(from_rows), one.columns, out_rows, accumulate)
        shape = (one.layout, one.rows, one.columns, one.data)
        self.native.transposed(*shape, dy, from_rows, code_bytes, out, accumulate, out_rows)
        return out


def of_expert(weights: Packed, expert: int | None) -> Packed:
    """That expert's matrix alone; weights of a single matrix as they are. Raises ValueError if there is none."""
    if expert is None and weights.experts == 1:
        return weights
    if expert is None or not 0 <= expert < weights.experts:
        raise ValueError(f"Products: expert {expert} of weights that hold {weights.experts}; name one, counted from 0.")
    size = packed_bytes(weights.layout, weights.rows, weights.columns)
    data = weights.data[expert * size : (expert + 1) * size]
    return Packed(weights.layout, weights.rows, weights.columns, data)


def checked_out(
    out: np.ndarray | None, tokens: int, width: int, out_rows: np.ndarray | None, accumulate: bool
) -> np.ndarray:
    """`out`, or a new array. Raises ValueError if it does not fit, or is missing where it is needed."""
    check_rows("out_rows", out_rows, None if out is None else len(out), tokens)
    if out is None:
        if accumulate or out_rows is not None:
            raise ValueError("linear: accumulate and out_rows need an `out` to write into.")
        return np.empty((tokens, width), np.float32)
    check_floats("out", out, (None if out_rows is not None else tokens, width))
    return out
