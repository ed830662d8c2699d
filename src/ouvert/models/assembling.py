"""Placed weights in the shape a decoder's graph wants: for families whose layers are all of one kind."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ouvert.models.configuration import DecoderConfig

P = TypeVar("P")


def assembled(parameters: Callable[..., P], layer: type, config: DecoderConfig, placed: Mapping[str, Any]) -> P:
    """`parameters` of one `layer` for each of the model's; both are the family's dataclasses.

    `placed` has our names (`norm`, `layers.0.q`). Only a model without an `unembedding` (it embeds texts) lacks one:
    every other parameter was paired with its tensor before.
    """
    names = [field.name for field in fields(layer)]
    return parameters(
        embedding=placed["embedding"],
        layers=tuple(
            layer(**{name: placed[f"layers.{n}.{name}"] for name in names}) for n in range(config.num_hidden_layers)
        ),
        norm=placed["norm"],
        unembedding=placed.get("unembedding"),
        rope=config.rope.rope(),
    )
