"""A gated feed-forward layer with frozen weights, forward and back a few tokens at a time: down(silu(gate x) · up x).

Nothing as wide as its inside is kept: on the way back the inside is computed again, so many tokens that it stays in a
core's cache.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import silu

from ouvert.kernels import Products, row_gradients
from ouvert.tuning.products import Carrying, Found

TOKENS = 128  # at a time


@dataclass(frozen=True, slots=True, eq=False)
class FeedForward:
    """The three products. With `unread` nobody reads the result: only gradients go through it. `products`: whose
    threads open the gate, in float32; without them PyTorch does, for any type of numbers."""

    gate: Carrying
    up: Carrying
    down: Carrying
    unread: bool
    products: Products | None = None


class FrozenFeedForward(torch.autograd.Function):
    """x (tokens, hidden), and a and b of gate, up and down (None where one carries nothing) -> (tokens, hidden)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: FeedForward, *pairs: torch.Tensor | None) -> torch.Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x)
        if layer.unread:
            return torch.empty_like(x)
        return torch.cat([answer(layer, part) for part in torch.split(x, TOKENS)])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,), wants_x, sums = ctx.saved_tensors, ctx.needs_input_grad[0], Sums()
        parts = zip(torch.split(x, TOKENS), torch.split(gradients[0], TOKENS), strict=True)
        dx = [back(ctx.layer, part, dy, sums, wants_x=wants_x) for part, dy in parts]
        return torch.cat([each for each in dx if each is not None]) if wants_x else None, None, *sums.found


class Sums:
    """What the gradients of a's and b's have added up to, part after part: of gate, up and down. Making one raises
    nothing."""

    def __init__(self) -> None:
        self.found: list[torch.Tensor | None] = [None] * 6

    def add(self, place: int, gradients: Found) -> None:
        """`place`: 0 for gate, 1 for up, 2 for down. Raises nothing."""
        for n, each in enumerate(gradients[1:], 2 * place):
            if each is not None:
                before = self.found[n]
                self.found[n] = each if before is None else before.add_(each)


def answer(layer: FeedForward, x: torch.Tensor) -> torch.Tensor:
    """What the layer makes of some tokens. Raises what products raise."""
    return layer.down.forward(opened(layer, layer.gate.forward(x)[0], layer.up.forward(x)[0]))[0]


def back(layer: FeedForward, x: torch.Tensor, dy: torch.Tensor, sums: Sums, *, wants_x: bool) -> torch.Tensor | None:
    """The gradient by x of some tokens, if it is wanted; those by the pairs are added to `sums`. Raises what products
    raise."""
    (gate, of_gate), (up, of_up) = layer.gate.forward(x), layer.up.forward(x)
    down = layer.down.backward(dy, opened(layer, gate, up), None, wants_x=True)
    sums.add(2, down)
    if down.x is None:
        raise AssertionError("a gradient that was asked for is missing")
    d_gate, d_up = opened_back(layer, gate, up, down.x)
    by_gate = layer.gate.backward(d_gate, x, of_gate, wants_x=wants_x)
    by_up = layer.up.backward(d_up, x, of_up, wants_x=wants_x)
    sums.add(0, by_gate)
    sums.add(1, by_up)
    return by_gate.x.add_(by_up.x) if by_gate.x is not None and by_up.x is not None else None


def opened(layer: FeedForward, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up. Raises nothing."""
    if layer.products is None:
        return silu(gate).mul_(up)
    return torch.from_numpy(row_gradients.swiglu(layer.products, gate.numpy(), up.numpy()))


def opened_back(
    layer: FeedForward, gate: torch.Tensor, up: torch.Tensor, dy: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients by gate and up, in their places. Raises nothing."""
    if layer.products is None:
        d_gate: torch.Tensor = torch.ops.aten.silu_backward(dy * up, gate)
        return d_gate, silu(gate).mul_(dy)
    row_gradients.swiglu_back(layer.products, gate.numpy(), up.numpy(), dy.numpy())
    return gate, up


def feed_forward(x: torch.Tensor, layer: FeedForward) -> torch.Tensor:
    """The layer, with gradients by x and by every pair. Raises what products raise."""
    pairs = [each for weight in (layer.gate, layer.up, layer.down) for each in (weight.a, weight.b)]
    out: torch.Tensor = FrozenFeedForward.apply(x, layer, *pairs)  # type: ignore[no-untyped-call]
    return out
