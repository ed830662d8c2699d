"""Who computes the operations of a graph: NumPy and PyTorch in two precisions, and C++ with every instruction set.

Another implementation is another class with these methods, in `IMPLEMENTATIONS`. The tests beside this file hold it to
the slow loops and to the goldens of every family, and want a row of it in `LACKING` (test_operations.py).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from ouvert import arithmetic, kernels, packed
from ouvert.kernels.linear import available_instruction_sets
from ouvert.models import Parameter
from ouvert.tuning import TorchOps, TuningError, pasts_of

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


class InTorch:
    """tuning.TorchOps with tensors for weights, so that there are gradients by them too."""

    refusal = TuningError

    def __init__(self, dtype: torch.dtype) -> None:
        self.name, self.rounding = f"torch {dtype}".replace("torch.", ""), torch.finfo(dtype).eps / 2
        self.dtype, self.place = dtype, TorchOps(dtype).place

    def run(self, graph: Graph, ids: Array, pieces: Sequence[int], watch: Sequence[str] = ()) -> Found:
        tap = TensorRecorder(*watch)
        with torch.no_grad():
            rows = self._rows(graph, ids, pieces, tap)
        return Found(np.concatenate([each.flatten(1).numpy() for each in rows]), tap.values())

    def gradients(
        self, graph_of: Callable[[dict[str, Any]], Graph], parameters: dict[str, Parameter], ids: Array, weights: Array
    ) -> dict[str, Array]:
        placed = {name: self.place(parameter).requires_grad_() for name, parameter in parameters.items()}
        (rows,) = self._rows(graph_of(placed), ids, [len(ids)], arithmetic.Tap())
        total = (rows.flatten(1) * torch.from_numpy(weights).to(self.dtype)).sum()
        found = torch.autograd.grad(total, list(placed.values()), allow_unused=True, materialize_grads=True)
        return {name: each.numpy() for name, each in zip(placed, found, strict=True)}

    def _rows(self, graph: Graph, ids: Array, pieces: Sequence[int], tap: Any) -> list[torch.Tensor]:
        ops, pasts = TorchOps(self.dtype), pasts_of(graph.memories)
        return [graph.forward(ops.begin([piece], [pasts]), ops, tap) for piece in cut(ids, pieces)]


class TensorRecorder(arithmetic.Recorder):
    def __call__(self, name: str, value: Any) -> Any:
        if self.wants(name):
            self.seen[self.scope + name] = value.numpy().copy()
        return value


def cut(ids: Array, pieces: Sequence[int]) -> list[Array]:
    assert sum(pieces) == len(ids)
    return np.split(ids, np.cumsum(pieces)[:-1])


NUMPY = [InNumPy(np.float32), InNumPy(np.float64)]
CPP = [InCpp(name) for name in available_instruction_sets()]
TORCH = [InTorch(torch.float32), InTorch(torch.float64)]
IMPLEMENTATIONS: list[Implementation] = [*NUMPY, *CPP, *TORCH]
