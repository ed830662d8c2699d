"""What the engine drives: something that runs one model over sequences. Two exist: NumPy's and the native one's."""

from collections.abc import Sequence as Ordered
from typing import Any, Literal, Protocol

import numpy as np

Wanted = Literal["last", "all", "none"]


class RunnerSequence(Protocol):
    """The past of one sequence: what its tokens left in the caches. Owned by whoever asked for it."""

    @property
    def length(self) -> int:
        """Tokens it holds."""

    def truncate(self, length: int) -> object:
        """Forget every token from `length` on; or all, where less cannot be forgotten: see `length`."""

    def close(self) -> None:
        """Free its memory. It cannot be used afterwards."""


class Runner(Protocol):
    """Runs a model. Not safe for use from several threads at once: the engine lets one in at a time."""

    @property
    def threads(self) -> int: ...

    @property
    def instruction_set(self) -> str: ...

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def cache_type(self) -> str:
        """How keys and values are kept: "f32" or "f16"."""

    def new_sequence(self, capacity: int) -> RunnerSequence:
        """A sequence of up to `capacity` tokens; its memory grows as tokens come."""

    def step(self, work: Ordered[tuple[Any, np.ndarray]], wanted: Wanted) -> np.ndarray:
        """Append new ids (int32) to each sequence (from this runner's `new_sequence`) and compute.

        float32 (rows, vocabulary). Rows: for every sequence the one after its last new token ("last"), after each
        of them ("all"), or none.
        """

    def close(self) -> None: ...
