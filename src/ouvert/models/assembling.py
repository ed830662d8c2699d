"""What the graphs of decoders have in common beside the arithmetic: weights in their shape, layers one by one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from types import NoneType
from typing import Any, Protocol, TypeVar, get_args

from ouvert.arithmetic import Experts, Rope
from ouvert.models.operations import RunLayer, Value, Watch

P = TypeVar("P")


class Rotates(Protocol):
    """models.rope.RopeConfig."""

    def rope(self) -> Rope: ...


class HasLayers(Protocol):
    """The configuration of a decoder, of any family with rotary positions."""

    @property
    def num_hidden_layers(self) -> int: ...
    @property
    def rope(self) -> Rotates: ...


def assembled(
    parameters: Callable[..., P],
    layer: type,
    config: HasLayers,
    placed: Mapping[str, Any],
    experts: Callable[[int], Experts | None] | None = None,
) -> P:
    """`parameters` of one `layer` for each of the model's; both are the family's dataclasses.

    `placed` has our names (`norm`, `layers.0.q`). A weight whose annotation allows None may be absent, and so may the
    `unembedding` of a model that embeds texts. `experts(n)`: those of layer n, for a family whose layers have them.
    Raises KeyError for another weight that is absent: each was paired with its tensor before.
    """
    optional = {field.name: NoneType in get_args(field.type) for field in fields(layer) if field.name != "experts"}

    def layer_of(n: int) -> Any:
        weights = {
            name: placed.get(f"layers.{n}.{name}") if may_lack else placed[f"layers.{n}.{name}"]
            for name, may_lack in optional.items()
        }
        return layer(**weights) if experts is None else layer(**weights, experts=experts(n))

    return parameters(
        embedding=placed["embedding"],
        layers=tuple(layer_of(n) for n in range(config.num_hidden_layers)),
        norm=placed["norm"],
        unembedding=placed.get("unembedding"),
        rope=config.rope.rope(),
    )


def one_by_one(run: Callable[..., Value], weights: Sequence[Any], tap: Watch, **shared: Any) -> list[RunLayer]:
    """`run(x, layer=, n=, tap=, **shared)` for each layer's weights: functions of the residual stream x alone, (tokens,
    hidden), to the next, of the same shape. Raises nothing."""
    return [partial(run, layer=layer, n=n, tap=tap.inside(f"layers.{n}"), **shared) for n, layer in enumerate(weights)]
