"""Which weights of a model may carry an adapter, and the model with something in their place."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from ouvert.arithmetic import Experts, WeightShape
from ouvert.models.operations import Weight

M = TypeVar("M")  # models.Model

# The products of attention and feed-forward layers. Never the embedding, the head or a router (whose hard choice has no
# gradient that is right); nor what latent attention absorbs into its queries and answers (`key` and `value`), since a
# prompt and an answer use these in two forms.
ATTENTION = ("q", "k", "v", "o", "query_low", "query_nope", "query_rope", "latent", "key_rope")
FEED_FORWARD = ("gate", "up", "down")


def adaptable(model: Any) -> dict[str, Weight]:
    """The weights that may carry an adapter, by our names ("layers.3.q"), in the order of the layers.

    Empty for a family whose layers have none: those with a state (mamba, mamba2), whose scan has no backward pass yet.
    Raises nothing.
    """
    found: dict[str, Weight] = {}

    def note(name: str, weight: Weight) -> Weight:
        found[name] = weight
        return weight

    carrying(model, note)
    return found


def adaptable_shapes(model: Any) -> dict[str, WeightShape]:
    """The shape of each of `adaptable`, by the same names. Raises nothing."""
    layers = (getattr(layer, "experts", None) for layer in model.parameters.layers)
    experts = {id(getattr(each, name)) for each in layers if isinstance(each, Experts) for name in FEED_FORWARD}
    return {name: shape_of(weight, holds_experts=id(weight) in experts) for name, weight in adaptable(model).items()}


def shape_of(weight: Weight, *, holds_experts: bool) -> WeightShape:
    """Of what `kernels` or `arithmetic.Ops` take as a weight. Raises nothing."""
    if hasattr(weight, "rows"):
        return WeightShape(weight.rows, weight.columns, weight.experts if holds_experts else None)
    *experts, rows, columns = weight.shape
    return WeightShape(rows, columns, *experts)


def carrying(model: M, put: Callable[[str, Weight], Weight]) -> M:
    """The same model with `put(name, weight)` in the place of each adaptable weight. Raises what `put` raises."""
    whole: Any = model
    layers = tuple(replace(layer, **dict(in_layer(layer, n, put))) for n, layer in enumerate(whole.parameters.layers))
    changed: M = replace(whole, parameters=replace(whole.parameters, layers=layers))
    return changed


def in_layer(layer: Any, n: int, put: Callable[[str, Weight], Weight]) -> Iterator[tuple[str, Any]]:
    """The fields of a layer that change. Experts' weights are called as their parameters are: `layers.3.gate`, or
    `layers.3.experts.gate` where the layer has a `gate` of its own beside them."""
    has = {each.name for each in fields(layer)} if is_dataclass(layer) else set()
    if "convolution" in has:
        return
    for name in (*ATTENTION, *FEED_FORWARD):
        if name in has and getattr(layer, name) is not None:
            yield name, put(f"layers.{n}.{name}", getattr(layer, name))
    experts = getattr(layer, "experts", None)
    if isinstance(experts, Experts):
        prefix = f"layers.{n}.experts" if "gate" in has else f"layers.{n}"
        yield (
            "experts",
            replace(experts, **{name: put(f"{prefix}.{name}", getattr(experts, name)) for name in FEED_FORWARD}),
        )
