"""A runner over NumPy's operations: the definition of what a model computes, and what runs where nothing faster can."""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from ouvert.arithmetic import Ops, Past
from ouvert.engine.runner import Wanted
from ouvert.models import Model


class NumpySequence:
    """Keys and values in float32; arithmetic.Past behind the runner's face."""

    def __init__(self, past: Past) -> None:
        self.past = past

    @property
    def length(self) -> int:
        return self.past.length

    def truncate(self, length: int) -> None:
        self.past.truncate(length)

    def close(self) -> None:
        self.past.close()


class NumpyRunner:
    """Weights in float32, products through NumPy's BLAS, which brings threads of its own.

    The last bits of a product depend on how many rows it has, so the numbers of a token may differ in float32's last
    digits with how its prompt was split.
    """

    instruction_set = "numpy"
    cache_type = "f32"

    def __init__(self, model: Model, ops: Ops) -> None:
        """`ops` are those the model's weights were placed with."""
        self.model: Model | None = model
        self.ops = ops
        self.vocabulary_size = int(model.config.vocab_size)
        self.threads = blas_threads()

    def new_sequence(self, capacity: int) -> NumpySequence:
        return NumpySequence(self.ops.new_past(self._open().memories))

    def step(self, work: Sequence[tuple[NumpySequence, np.ndarray]], wanted: Wanted) -> np.ndarray:
        batch = self.ops.begin([(sequence.past, ids) for sequence, ids in work], wanted)
        logits: np.ndarray = self._open().forward(batch, self.ops)
        return logits.astype(np.float32, copy=False)

    def close(self) -> None:
        self.model = None

    def _open(self) -> Model:
        if self.model is None:
            raise RuntimeError("NumpyRunner: it was closed.")
        return self.model


def blas_threads() -> int:
    """Threads NumPy's products run on: 1 if its library cannot be asked."""
    return max((int(each["num_threads"]) for each in threadpool_info() if each["user_api"] == "blas"), default=1)


def limit_threads(threads: int | None) -> None:
    """From here on NumPy's products, in the whole process, run on this many threads. None leaves it as it is."""
    if threads is not None:
        threadpool_limits(threads, user_api="blas")
