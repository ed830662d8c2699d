"""What a graph may ask for: the operations and the batch, as arithmetic, kernels and others offer them.

Weights and values are whatever the operations understand: arrays, or marks in a trace. A graph only hands them on.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

from ouvert.arithmetic import Experts, Rope

Value = Any  # has `+`; rows are tokens
Weight = Any  # whatever the same object's `place` has made
RunLayer = Callable[[Value], Value]  # one layer: the residual stream (tokens, hidden) -> the next


class Watch(Protocol):
    """arithmetic.Tap, or anything like it."""

    def __call__(self, name: str, value: Value) -> Value: ...
    def wants(self, name: str) -> bool:
        """Whether it wants to see this value, which is computed for it alone. Raises nothing."""

    def inside(self, scope: str) -> Self:
        """The tap for the values of a part, such as "layers.3". Raises nothing."""


class Batch(Protocol):
    """The new tokens of one step, of one or several sequences.

    Its properties raise nothing.
    """

    @property
    def ids(self) -> Value:
        """Token ids, (tokens,)."""

    @property
    def positions(self) -> Value:
        """How many tokens of its sequence stand before each, (tokens,)."""

    @property
    def wanted(self) -> Value:
        """The rows of the tokens whose logits are wanted."""

    @property
    def caches(self) -> Sequence[Any]:
        """One for each layer: its cache of the batch's sequences."""


class Operations(Protocol):
    """Shapes and meanings are those of the functions of the same name in ouvert.arithmetic. Its methods raise what the
    implementation says: `arithmetic.Ops` ValueError, `kernels.Tracer` TracingError, for shapes that do not fit."""

    def embed(self, ids: Value, table: Weight) -> Value: ...
    def linear(self, x: Value, weight: Weight, bias: Weight | None = None) -> Value: ...
    def rms_norm(self, x: Value, weight: Weight, eps: float, groups: int = 1) -> Value: ...
    def heads(self, x: Value, head_dim: int) -> Value: ...
    def rotate(self, x: Value, positions: Value, rope: Rope) -> Value: ...
    def attend(
        self,
        q: Value,
        k: Value,
        v: Value,
        cache: Any,
        *,
        scale: float,
        window: int | None = None,
        sinks: Weight | None = None,
    ) -> Value: ...
    def swiglu(self, gate: Value, up: Value) -> Value: ...
    def route_top_k(self, scores: Value, top_k: int, *, normalised: bool = True) -> tuple[Value, Value]: ...
    def mix_experts(self, x: Value, experts: Experts, chosen: Value, expert_weights: Value) -> Value: ...
    def attend_latent(self, q: Value, latents: Value, cache: Any, *, scale: float) -> Value: ...
    def attend_expanded(
        self, mixed: Value, q_nope: Value, q_rope: Value, key: Weight, value: Weight, cache: Any, *, scale: float
    ) -> Value: ...
    def linear_heads(self, x: Value, weight: Weight) -> Value: ...
    def join(self, a: Value, b: Value, heads: int) -> Value: ...
    def route_top_k_of_groups(
        self,
        scores: Value,
        correction: Weight,
        top_k: int,
        groups: int,
        top_k_groups: int,
        *,
        normalised: bool,
        factor: float,
    ) -> tuple[Value, Value]: ...
    def convolve(self, x: Value, weight: Weight, bias: Weight, cache: Any) -> Value: ...
    def selective_scan(self, x: Value, dt: Value, A: Weight, B: Value, C: Value, D: Weight, cache: Any) -> Value: ...
    def ssd_scan(
        self, xBC: Value, dt: Value, A: Weight, D: Weight, cache: Any, *, limits: tuple[float, float]
    ) -> Value: ...
    def select(self, x: Value, rows: Value) -> Value: ...

    # For taps alone: what `attend`, `attend_latent`, `mix_experts` and the scans do on the way, of the same arguments.
    # Each stands after the operation that it tells of.
    def attention_rows(
        self, q: Value, cache: Any, *, scale: float, window: int | None = None, sinks: Weight | None = None, top: int
    ) -> Any: ...  # what arithmetic.AttentionRows has
    def each_expert(self, x: Value, experts: Experts, chosen: Value, expert_weights: Value) -> Value: ...
    def selective_norms(self, x: Value, dt: Value, A: Weight, B: Value, C: Value, D: Weight, cache: Any) -> Value: ...
    def ssd_norms(
        self, xBC: Value, dt: Value, A: Weight, D: Weight, cache: Any, *, limits: tuple[float, float]
    ) -> Value: ...


class Places(Protocol):
    """Turns a parameter of a checkpoint into what some operations take as a weight.

    arithmetic.Ops does it for itself; packed.InMemory and packed.PackedWeights do it for the kernels.
    """

    def place(self, parameter: Any) -> Weight:
        """The weight. Raises what the implementation says: CheckpointError or ValueError for a parameter that it cannot
        place."""
