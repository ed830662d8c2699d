"""Who computes the operations of a graph: NumPy in two precisions, and C++ with every instruction set.

Another implementation is another class with these methods, in `IMPLEMENTATIONS`. The tests beside this file hold it to
the slow loops and to the goldens of every family, and want a row of it in `LACKING` (test_operations.py).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ouvert import arithmetic, kernels, packed
from ouvert.kernels.linear import available_instruction_sets
from ouvert.models import Parameter

Array = np.ndarray[Any, np.dtype[Any]]


class Graph(Protocol):
    """What is run: an operation at one size (cases.py), or models.Model."""

    @property
    def memories(self) -> Iterable[Any]: ...
    def forward(self, batch: Any, ops: Any, tap: Any = None) -> Any: ...


class Found(NamedTuple):
    """`rows` has what the graph returned for every token, (tokens, width); `seen` the values that were asked for."""

    rows: Array
    seen: dict[str, Array]


class Implementation(Protocol):
    """`rounding`: half the distance from 1 to the next number. `refusal`: raised for what it does not have."""

    name: str
    rounding: float
    refusal: type[Exception]

    def place(self, parameter: Parameter) -> Any:
        """The parameter as a weight of its operations (models.Places)."""

    def run(self, graph: Graph, ids: Array, pieces: Sequence[int], watch: Sequence[str] = ()) -> Found:
        """One sequence, read in steps of so many tokens. `watch` names values of the last step."""


class HasGradients(Implementation, Protocol):
    """An implementation that can train."""

    def gradients(
        self, graph_of: Callable[[dict[str, Any]], Graph], parameters: dict[str, Parameter], ids: Array, weights: Array
    ) -> dict[str, Array]:
        """Of sum(rows * weights), by every number of every parameter; `graph_of` takes placed parameters."""


class InNumPy:
    """arithmetic.Ops."""

    refusal = NotImplementedError  # it has everything

    def __init__(self, dtype: type[np.floating]) -> None:
        self.name, self.rounding = f"numpy {np.dtype(dtype).name}", float(np.finfo(dtype).epsneg)
        self.ops = arithmetic.Ops(dtype)
        self.place = self.ops.place

    def run(self, graph: Graph, ids: Array, pieces: Sequence[int], watch: Sequence[str] = ()) -> Found:
        cache, tap = self.ops.new_cache(graph.memories), arithmetic.Recorder(*watch)
        rows = [graph.forward(self.ops.begin([(cache, piece)], "all"), self.ops, tap) for piece in cut(ids, pieces)]
        return Found(np.concatenate([each.reshape(len(each), -1) for each in rows]), tap.values())


class InCpp:
    """A native program that keeps float32 everywhere, so that it rounds as NumPy's float32 does."""

    refusal = kernels.TracingError
    rounding = float(np.finfo(np.float32).epsneg)

    def __init__(self, instruction_set: str) -> None:
        self.name, self.instruction_set = f"c++ {instruction_set}", instruction_set
        self.place = packed.InMemory().place

    def run(self, graph: Graph, ids: Array, pieces: Sequence[int], watch: Sequence[str] = ()) -> Found:
        tracer = kernels.Tracer(exact=True, cache="f32")
        program = kernels.build(tracer, graph, threads=2, instruction_set=self.instruction_set, watch=watch)
        sequence = program.new_sequence(len(ids))
        rows = [program.step([(sequence, piece.astype(np.int32))], "all") for piece in cut(ids, pieces)]
        found = Found(np.concatenate(rows), {name: program.seen(name) for name in watch})
        sequence.close()
        program.close()
        return found


def cut(ids: Array, pieces: Sequence[int]) -> list[Array]:
    assert sum(pieces) == len(ids)
    return np.split(ids, np.cumsum(pieces)[:-1])


NUMPY = [InNumPy(np.float32), InNumPy(np.float64)]
CPP = [InCpp(name) for name in available_instruction_sets()]
IMPLEMENTATIONS: list[Implementation] = [*NUMPY, *CPP]
