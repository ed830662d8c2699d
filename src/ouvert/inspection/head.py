"""The end of a model, by itself: from any row of the residual stream to the logits it would give, as served.

A row goes through the last norm, scaled by that row's own root mean square, and through the output matrix that serves,
with the activations in the 16 bits that serving uses. So a row of the last layer gives the very bits of the logits.
"""

from collections.abc import Iterator, Sequence
from math import ceil

import numpy as np

from ouvert import kernels
from ouvert.inspection.error import InspectionError
from ouvert.inspection.subject import Array, Subject
from ouvert.kernels import ROW_GROUP, Packed

ROWS_BYTES = 32_000_000  # of the logits that are computed at once
LEAST_ROWS, MOST_ROWS = 8, 256


def eps_of(subject: Subject) -> float:
    """What the last norm adds to the mean square. Raises nothing."""
    config = subject.model.config
    return float(config.rms_norm_eps if hasattr(config, "rms_norm_eps") else config.layer_norm_epsilon)


class Head:
    """The last norm and the output matrix, or `tokens` rows of it. Close it when it is no longer needed.

    Making one raises InspectionError for a model that writes no text, and for a token that it does not have.
    """

    def __init__(self, subject: Subject, tokens: Sequence[int] | None = None) -> None:
        subject.need("lens")
        parameters = subject.model.parameters
        matrix: Packed = parameters.unembedding
        self._columns: Array | None = None  # of the result, which the caller asked for
        if tokens is not None:
            matrix, self._columns = rows_of(matrix, tokens)
        width = matrix.columns
        self.rows = max(LEAST_ROWS, min(MOST_ROWS, ROWS_BYTES // (4 * matrix.rows)))
        self._stream = np.zeros((self.rows, width), np.float32)
        packed, _ = kernels.pack("F32", self._bytes(), self.rows, width)
        self._table = Packed("F32", self.rows, width, packed)
        tracer = kernels.Tracer(exact=subject.exact, cache=subject.cache_type)
        batch = tracer.begin(())
        x = tracer.select(tracer.embed(batch.ids, self._table), batch.wanted)
        x = tracer.rms_norm(x, parameters.norm, eps_of(subject))
        self._program = tracer.finish(tracer.linear(x, matrix), threads=subject.threads)

    def logits(self, stream: Array) -> Iterator[Array]:
        """The logits (rows, vocabulary, or tokens asked for) of rows (rows, hidden) of the residual stream, `self.rows`
        of them at a time. Raises nothing."""
        for start in range(0, len(stream), self.rows):
            part = stream[start : start + self.rows]
            self._stream[: len(part)] = part
            kernels.pack("F32", self._bytes(), *self._stream.shape, out=self._table.data)
            sequence = self._program.new_sequence(self.rows)
            scores = self._program.step([(sequence, np.arange(len(part), dtype=np.int32))], "all")
            sequence.close()
            yield scores if self._columns is None else scores[:, self._columns]

    def all_logits(self, stream: Array) -> Array:
        """The same, all at once. Raises nothing."""
        return np.concatenate([*self.logits(stream)])

    def close(self) -> None:
        """Let go of its threads. Raises nothing."""
        self._program.close()

    def _bytes(self) -> Array:
        return self._stream.view(np.uint8).ravel()


def rows_of(matrix: Packed, rows: Sequence[int]) -> tuple[Packed, Array]:
    """A matrix of the row groups that these rows lie in, in their order, and which rows of it they are.

    A group's bytes are the same wherever it stands, and so are its products. Raises InspectionError for a row that the
    matrix does not have.
    """
    chosen = np.asarray(rows, np.int64)
    if not chosen.size or chosen.min() < 0 or chosen.max() >= matrix.rows:
        raise InspectionError(
            f"focus lens: the tokens are {list(rows)!r:.80}, expected one or more ids from 0 to {matrix.rows - 1}."
        )
    groups, places = np.unique(chosen // ROW_GROUP, return_inverse=True)
    size = len(matrix.data) // ceil(matrix.rows / ROW_GROUP)
    data = kernels.aligned_bytes(len(groups) * size)
    data.reshape(len(groups), size)[:] = matrix.data.reshape(-1, size)[groups]
    return Packed(matrix.layout, len(groups) * ROW_GROUP, matrix.columns, data), places * ROW_GROUP + chosen % ROW_GROUP
