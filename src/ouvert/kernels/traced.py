"""What a graph holds while it is traced: marks in place of arrays, of the batch and of caches."""

from dataclasses import dataclass
from typing import Any

from ouvert.kernels.trace import Value


@dataclass(frozen=True, eq=False)
class Traced:
    """What a graph holds in place of an array. `head_dim` says how `heads` has cut its columns, if it has."""

    tracer: Any  # kernels.Tracer
    value: Value
    head_dim: int | None = None

    @property
    def shape(self) -> tuple[str | int, ...]:
        """("tokens" or "wanted", columns), or (…, heads, head_dim) if `heads` has cut its columns. Raises nothing."""
        cut = (self.value.width,) if self.head_dim is None else (self.value.width // self.head_dim, self.head_dim)
        return (self.value.rows, *cut)

    @property
    def dtype(self) -> str:
        """ "float32", or "int32" of chosen experts. Raises nothing."""
        return "int32" if self.value.integers else "float32"

    def __add__(self, other: "Traced") -> "Traced":
        total: Traced = self.tracer.add(self, other)
        return total


@dataclass(frozen=True, eq=False)
class Ids:
    """The token ids of a step."""


@dataclass(frozen=True, eq=False)
class Positions:
    """The position of each token of a step in its sequence."""


@dataclass(frozen=True, eq=False)
class WantedRows:
    """The rows whose logits are wanted."""


@dataclass(frozen=True, eq=False)
class LayerCache:
    """The cache of one layer, of all sequences of a step."""

    layer: int


@dataclass(frozen=True, eq=False)
class Batch:
    """The tokens of a step, whichever they will be."""

    ids: Ids
    positions: Positions
    wanted: WantedRows
    caches: tuple[LayerCache, ...]


class TracingError(Exception):
    """A graph asks for what a program cannot do. The message names the operation, what it was given and the remedy."""
