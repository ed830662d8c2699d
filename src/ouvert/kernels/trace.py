"""What a tracer notes of a graph: values, and the operations that make them. What lowering starts from."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Rows = Literal["tokens", "wanted"]


class KeyValueMemory(Protocol):
    """A layer that caches keys and values: models.KeyValueMemory."""

    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def window(self) -> int | None: ...


class LatentMemory(Protocol):
    """A layer that caches latents: models.LatentMemory."""

    @property
    def width(self) -> int: ...
    @property
    def value_width(self) -> int: ...


class StateMemory(Protocol):
    """A layer that caches a state: models.StateMemory."""

    @property
    def channels(self) -> int: ...
    @property
    def convolution(self) -> int: ...
    @property
    def states(self) -> int: ...
    @property
    def convolved(self) -> int: ...


Memory = KeyValueMemory | LatentMemory | StateMemory


@dataclass(eq=False)
class Value:
    """A matrix with one row per token, or per wanted token."""

    rows: Rows
    width: int
    code_bytes: int = 0  # activations as whole numbers of so many bytes instead of floats
    integers: bool = False  # int32 instead of floats
    apart: str = ""  # what of an instruction that shows attention it is; such values do not lie in the arena
    watched: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Op:
    """One operation: what it reads, what it writes, and whatever else it needs."""

    kind: str
    reads: list[Value]
    writes: list[Value]
    given: dict[str, Any] = field(default_factory=dict)
