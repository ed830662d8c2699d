"""The end of a model, by itself: from rows of the residual stream to log-probabilities, and how these change with them.

The last norm and the output matrix as they are served, so many rows at a time that the logits are never kept.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ouvert import kernels
from ouvert.arithmetic import sampling
from ouvert.kernels import sampling as native_sampling
from ouvert.models import Model
from ouvert.tuning.operations import TorchOps
from ouvert.tuning.products import PackedProduct

Array = np.ndarray[Any, np.dtype[Any]]

LOGITS_BYTES = 16 << 20  # of the logits that are there at once, so many rows as these hold
LEAST_ROWS, MOST_ROWS = 16, 128


class Head:
    """The last norm and the output matrix of a model. Close it when it is no longer needed.

    Not for use from several threads at once. Making one raises what tracing raises.
    """

    def __init__(self, model: Model, *, threads: int, exact: bool) -> None:
        parameters = model.parameters
        self._matrix: kernels.Packed = parameters.unembedding
        self._norm, self._eps = parameters.norm, float(model.config.rms_norm_eps)
        self._threads = kernels.Products(threads)
        self._product = PackedProduct(self._matrix, self._threads, exact, fine=True)
        self._ops = TorchOps(products=self._threads)
        rows, width = LOGITS_BYTES // (4 * self._matrix.rows), self._matrix.columns
        self._rows = max(LEAST_ROWS, min(MOST_ROWS, rows))
        self._stream = np.zeros((self._rows, width), np.float32)
        packed, _ = kernels.pack("F32", self._bytes(), self._rows, width)
        self._table = kernels.Packed("F32", self._rows, width, packed)
        tracer = kernels.Tracer(exact=exact)
        batch = tracer.begin(())
        x = tracer.select(tracer.embed(batch.ids, self._table), batch.wanted)
        x = tracer.rms_norm(x, self._norm, self._eps)
        self._program = tracer.finish(tracer.linear(x, self._matrix), threads=threads)

    def log_probabilities(self, stream: Array, tokens: Array) -> Array:
        """float64 (rows,): that of the token that followed each row (rows, hidden) of the last layer's stream."""
        found = [found for found, _ in self._scored(stream, tokens)]
        return np.concatenate(found) if found else np.empty(0)

    def with_directions(self, stream: Array, tokens: Array) -> tuple[Array, torch.Tensor]:
        """The same, and float32 (rows, hidden): the derivative of each by the row after the last norm.

        It is the token's row of the output matrix, less what the model expected of all of them.
        """
        scores, directions = [], [torch.empty(0, self._stream.shape[1])]
        start = 0
        for found, logits in self._scored(stream, tokens):
            followed = tokens[start : start + len(found)].astype(np.int32)
            totals = (logits[np.arange(len(found)), followed] - found).astype(np.float32)
            kernels.row_gradients.log_probability_back(
                self._threads, logits, totals, followed
            )  # nobody needs them more
            directions.append(self._product.transposed(torch.from_numpy(logits)))
            scores.append(found)
            start += len(found)
        return (np.concatenate(scores) if scores else np.empty(0)), torch.cat(directions)

    def gradient(self, stream: Array, directions: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """float32 (rows, hidden): how sum(weights · log-probabilities) changes with the rows of the stream."""
        x = torch.from_numpy(stream).requires_grad_()
        normed = self._ops.rms_norm(x, self._norm, self._eps)
        (found,) = torch.autograd.grad(normed, x, weights[:, None] * directions)
        return found

    def close(self) -> None:
        """Let go of its threads. Raises nothing."""
        self._program.close()

    def _scored(self, stream: Array, tokens: Array) -> Iterator[tuple[Array, Array]]:
        """(log-probabilities, logits) of some rows after the other."""
        rows = -(
            -len(stream) // max(1, -(-len(stream) // self._rows))
        )  # as many each time: a few cost as much as these
        for start in range(0, len(stream), max(1, rows)):
            part = stream[start : start + rows]
            self._stream[: len(part)] = part
            kernels.pack("F32", self._bytes(), self._rows, self._table.columns, out=self._table.data)
            sequence = self._program.new_sequence(self._rows)
            logits = self._program.step([(sequence, np.arange(len(part), dtype=np.int32))], "all")
            sequence.close()
            yield log_probabilities(logits, tokens[start : start + rows]), logits

    def _bytes(self) -> Array:
        return self._stream.view(np.uint8).ravel()


def log_probabilities(logits: Array, tokens: Array) -> Array:
    """Of one token after each row of logits, float64: by the same steps as the engine's, so with the same bits."""
    outcomes, _ = native_sampling.report(logits, np.zeros(len(logits), np.int64))
    totals = np.array([sampling.log_of_total(total) for total in outcomes["total"].tolist()])
    chosen = np.take_along_axis(logits, tokens[:, None].astype(np.int64), 1)[:, 0].astype(np.float64)
    found: Array = (chosen - outcomes["largest"]) - totals
    return found
