"""The named values of a forward pass, as data: what a tap sees, of which shape, at what cost, and what it may replace.

docs/formats/taps.md is written from `TAPS` by docs/formats/write_taps.py, and tests compare the table with what every
family's graph shows, in NumPy and in C++.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

from ouvert.models.operations import Value, Watch
from ouvert.models.showing import TOP

Rows = Literal["tokens", "wanted"]
# Which layers show a value: all, those with routed experts, or those without; or it belongs to no layer.
Place = Literal["model", "layer", "layer with experts", "layer without experts"]
# What watching a value costs a native program. "memory": its place in memory is not used again until the step ends.
# "split": besides, an instruction that would have hidden it becomes two. "computed": it is made for whoever watches, by
# an instruction of its own. None of them changes any other number.
Cost = Literal["memory", "split", "computed"]

STATES = ("mamba", "mamba2")
ALL = ("deepseek_v3", "gpt_oss", "llama", *STATES, "mixtral", "qwen2", "qwen3", "qwen3_moe", "qwen3_embedding")
WRITES_TEXT = tuple(name for name in ALL if name != "qwen3_embedding")
HEADS = ("gpt_oss", "llama", "mixtral", "qwen2", "qwen3", "qwen3_moe", "qwen3_embedding")
ATTENDS = (*HEADS, "deepseek_v3")
MLP = ("llama", "qwen2", "qwen3", "qwen3_embedding")


class TapError(Exception):
    """A tap returned what may not stand in a value's place. The message names the value and says what may."""


@dataclass(frozen=True, slots=True)
class NamedValue:
    """One row of the table. The full name of a layer's value is `layers.N.` and `name`.

    In NumPy a value has the shape (`rows`, *`dims`), in C++ (`rows`, the product of `dims`); `dims` are names of
    `config.sizes()`, or `positions`: the tokens of the longest sequence of the step, or `top`: `TOP`. float32 (NumPy:
    the type of the operations), or int32 with `integers`. A tap may replace it if it is `editable`.
    """

    name: str
    rows: Rows
    dims: str
    families: tuple[str, ...]
    meaning: str
    place: Place = "layer"
    cost: Cost = "memory"
    integers: bool = False
    editable: bool = True

    def shape(self, config: Any, positions: int = 0) -> tuple[int, ...]:
        """The shape of one row, in a step whose longest sequence has so many `positions`. Raises nothing."""
        sizes = config.sizes() | {"positions": positions, "top": TOP}
        return tuple(sizes[dim] for dim in self.dims.split())


EXPERTS = ("gpt_oss", "mixtral", "qwen3_moe", "deepseek_v3")
WITH_EXPERTS: Place = "layer with experts"

# Every named value of every family: docs/formats/taps.md shows the table.
TAPS = (
    NamedValue("embedding", "tokens", "hidden", ALL,
               "The tokens' rows of the embedding: the residual stream at its beginning", "model", "split"),
    NamedValue("attention.q", "tokens", "q_heads head_dim", HEADS,
               "Queries before the rotation: with bias (`qwen2`, `gpt_oss`), the heads' norm (`qwen3`, `qwen3_moe`)",
               cost="split"),
    NamedValue("attention.q", "tokens", "q_heads latent_width", ("deepseek_v3",),
               "The query in latent space, and the part that was rotated"),
    NamedValue("attention.k", "tokens", "kv_heads head_dim", HEADS, "Keys before the rotation, likewise"),
    NamedValue("attention.v", "tokens", "kv_heads head_dim", HEADS, "Values"),
    NamedValue("attention.latent", "tokens", "latent_width", ("deepseek_v3",),
               "What is cached of a token: the latent, and the key that was rotated"),
    NamedValue("attention.mixed", "tokens", "queries", HEADS,
               "The values that each head has mixed, before the output matrix"),
    NamedValue("attention.mixed", "tokens", "values", ("deepseek_v3",),
               "The values that each head has mixed, before the output matrix"),
    NamedValue("attention.weights", "tokens", "q_heads positions", ATTENDS,
               "The share of each head's attention that each position gets: exactly 0 beyond what the token sees",
               cost="computed", editable=False),
    NamedValue("attention.sink", "tokens", "q_heads", ("gpt_oss",),
               "The share of each head's sink: what the weights lack to 1", cost="computed", editable=False),
    NamedValue("attention.top", "tokens", "q_heads top", ATTENDS,
               "The heaviest positions of each head, heaviest first, the lower among equals; -1 where it sees fewer",
               cost="computed", integers=True, editable=False),
    NamedValue("attention.top_weights", "tokens", "q_heads top", ATTENDS,
               "Their weights; 0 where a head sees fewer", cost="computed", editable=False),
    NamedValue("attention.out", "tokens", "hidden", ATTENDS,
               "What attention adds to the residual stream", cost="split"),
    NamedValue("mlp.inner", "tokens", "inner", MLP, "silu(gate) · up"),
    NamedValue("mlp.inner", "tokens", "inner", ("deepseek_v3", "qwen3_moe"), "silu(gate) · up",
               "layer without experts"),
    NamedValue("mlp.inner", "tokens", "shared_inner", ("deepseek_v3",),
               "silu(gate) · up of the experts that all tokens share", WITH_EXPERTS),
    NamedValue("mlp.out", "tokens", "hidden", (*MLP, "deepseek_v3"),
               "What the feed-forward layer (or the experts that all tokens share) adds to the residual stream",
               cost="split"),
    NamedValue("mlp.out", "tokens", "hidden", ("qwen3_moe",), "What the feed-forward layer adds to the residual stream",
               "layer without experts", cost="split"),
    NamedValue("experts.scores", "tokens", "experts", EXPERTS, "The router's score of every expert", WITH_EXPERTS),
    NamedValue("experts.chosen", "tokens", "top_k", EXPERTS,
               "The experts that each token takes, best first", WITH_EXPERTS, integers=True),
    NamedValue("experts.weights", "tokens", "top_k", EXPERTS,
               "Their weights: softmax over their scores (`qwen3_moe`: or all), or sigmoids, scaled (`deepseek_v3`)",
               WITH_EXPERTS),
    NamedValue("experts.out", "tokens", "hidden", EXPERTS,
               "What the chosen experts add to the residual stream", WITH_EXPERTS),
    NamedValue("experts.each", "tokens", "top_k hidden", EXPERTS,
               "What each of the chosen experts adds to that, in the order of `experts.chosen`; it is summed in the "
               "order of the experts' numbers", WITH_EXPERTS, cost="computed", editable=False),
    NamedValue("mixer.convolved", "tokens", "channels", ("mamba",),
               "silu of each channel's convolution over its last inputs: x of the selective scan"),
    NamedValue("mixer.convolved", "tokens", "convolved", ("mamba2",),
               "silu of each channel's convolution over its last inputs: x of the scan, then B, then C"),
    NamedValue("mixer.dt", "tokens", "channels", ("mamba",), "How far each channel's state moves, before softplus"),
    NamedValue("mixer.dt", "tokens", "state_heads", ("mamba2",), "How far each head's state moves, before softplus"),
    NamedValue("mixer.B", "tokens", "states", ("mamba",), "What goes into the states"),
    NamedValue("mixer.C", "tokens", "states", ("mamba",), "What is read from the states"),
    NamedValue("mixer.state_norm", "tokens", "channels", ("mamba",),
               "The Euclidean norm of each channel's state after the token", cost="computed", editable=False),
    NamedValue("mixer.state_norm", "tokens", "state_heads", ("mamba2",),
               "The Euclidean norm of each head's state after the token", cost="computed", editable=False),
    NamedValue("mixer.scanned", "tokens", "channels", STATES, "What the scan gives"),
    NamedValue("mixer.inner", "tokens", "channels", STATES, "The same times silu(gate)"),
    NamedValue("mixer.normed", "tokens", "channels", ("mamba2",), "The same after the norm of each group"),
    NamedValue("mixer.out", "tokens", "hidden", STATES, "What the mixer adds to the residual stream", cost="split"),
    NamedValue("out", "tokens", "hidden", ALL, "The residual stream after the layer", cost="split"),
    NamedValue("norm", "wanted", "hidden", ALL, "The last norm, of the tokens whose logits are wanted", "model"),
    NamedValue("logits", "wanted", "vocabulary", WRITES_TEXT,
               "Scores of the next token; to change them is the sampler's work", "model", editable=False),
)  # fmt: skip


def shown_by(family: str, config: Any) -> Iterator[tuple[str, NamedValue]]:
    """(full name, row of the table) of every value that a model of this family and configuration shows.

    Raises nothing.
    """
    own = [value for value in TAPS if family in value.families]
    for value in own:
        if value.place == "model":
            yield value.name, value
    for n in range(config.num_hidden_layers):
        for value in own:
            if value.place == "layer" or (
                value.place != "model" and config.has_experts(n) == (value.place == "layer with experts")
            ):
                yield f"layers.{n}.{value.name}", value


# Layers whose attention is watched while text is written: measured in docs/figures/taps.md.
LIVE_LAYERS = 6
LIVE_ATTENTION = ("attention.top", "attention.top_weights", "attention.sink")
LIVE = ("experts.scores", "experts.chosen", "experts.weights", "mixer.state_norm")


def live_names(family: str, config: Any) -> list[str]:
    """What may be watched while an answer is written, for about 3 % of the time: full names, in the graph's order.

    The routers and the norms of states of all layers, and where the heads of LIVE_LAYERS layers look, spread evenly and
    the last among them. Raises nothing.
    """
    layers = config.num_hidden_layers
    step = -(-layers // LIVE_LAYERS)
    looked_at = {f"layers.{n}" for n in range(layers - 1, -1, -step)}
    return [
        name
        for name, value in shown_by(family, config)
        if value.name in LIVE or (value.name in LIVE_ATTENTION and ".".join(name.split(".")[:2]) in looked_at)
    ]


class CheckedTap:
    """Hands each value to `tap`, and holds what comes back to the table: the same rule whatever the operations are.

    A replacement must be of a value that is editable, and be like it: made by the same operations, of its shape and
    type. Raises TapError otherwise, and for a value that the table does not have.
    """

    def __init__(self, tap: Watch, family: str, scope: str = "") -> None:
        self.tap, self.family, self.scope = tap, family, scope

    def __call__(self, name: str, value: Value) -> Value:
        rows = [row for row in TAPS if row.name == name and self.family in row.families]
        if not rows:
            raise TapError(
                f"tap: {self.family} shows {self.scope}{name}, expected a name of ouvert.models.TAPS. "
                "Add it to the table in models/taps.py."
            )
        returned = self.tap(name, value)
        if returned is value:
            return value
        if not rows[0].editable:
            raise TapError(
                f"tap: {self.scope}{name} was replaced, expected the value itself, for it may only be looked at. "
                "docs/formats/taps.md says which values may be replaced."
            )
        if alike(returned) != alike(value):
            raise TapError(
                f"tap: {self.scope}{name} was replaced by {shown(returned)}, expected {shown(value)}. "
                "Return a value of the same operations, shape and type."
            )
        return returned

    def wants(self, name: str) -> bool:
        """Whether the tap wants to see this value. Raises nothing."""
        return self.tap.wants(name)

    def inside(self, scope: str) -> Self:
        """The checked tap for the values of a part, such as "layers.3"."""
        return type(self)(self.tap.inside(scope), self.family, f"{self.scope}{scope}.")


def alike(value: Value) -> tuple[Any, ...]:
    """What a replacement must have in common with the value."""
    return type(value), getattr(value, "shape", None), getattr(value, "dtype", None)


def shown(value: Value) -> str:
    """Type, shape and dtype of a value, in words."""
    kind, shape, dtype = alike(value)
    return f"{kind.__name__} {shape} of {dtype}" if shape is not None else f"{kind.__name__}"
