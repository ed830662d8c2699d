"""Causal attention of one sequence, with gradients: natively in float32, and in PyTorch's own operations for any other
type of numbers, which are what the native one is held to.

PyTorch's own (`scaled_dot_product_attention`) looks at every key where there is a window or a sink, and takes a third
longer where there is none: docs/journal.md has the figures.
"""

from typing import Any

import torch

from ouvert.arithmetic import Rope
from ouvert.kernels import Products, attend_back
from ouvert.kernels import attend as attend_natively


class Attention(torch.autograd.Function):
    """q (tokens, heads, head_dim), keys and values (length, kv_heads, …), sinks (heads,) or None -> (tokens, heads,
    value_dim), with gradients by all of them."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        sinks: torch.Tensor | None,
        products: Products,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        arrays = [each.detach().contiguous().numpy() for each in (q, keys, values)]
        score = None if sinks is None else sinks.detach().contiguous().numpy()
        ctx.products = products
        ctx.attended = attend_natively(products, *arrays, scale=scale, window=window, sinks=score)
        return torch.from_numpy(ctx.attended.out)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        found = attend_back(ctx.products, ctx.attended, gradients[0].contiguous().numpy())
        return (*(None if each is None else torch.from_numpy(each) for each in found), None, None, None)


def attend(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    scale: float,
    window: int | None = None,
    sinks: torch.Tensor | None = None,
    products: Products | None = None,
) -> torch.Tensor:
    """`arithmetic.attend` of tensors: q (tokens, q_heads, head_dim), keys and values (length, kv_heads, …), of which
    the last are the tokens' own -> (tokens, q_heads * value_dim). `products`: whose threads compute float32; the
    caller's if there are none. Raises ValueError or what torch raises for shapes that do not fit.
    """
    if q.dtype != torch.float32:
        return attend_plainly(q, keys, values, scale=scale, window=window, sinks=sinks)
    mixed: torch.Tensor = Attention.apply(q, keys, values, sinks, products or Products(), scale, window)  # type: ignore[no-untyped-call]
    return mixed.reshape(len(q), -1)


def attend_plainly(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    scale: float,
    window: int | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """The same as one would write it down. Raises what torch raises for shapes that do not fit."""
    tokens, heads, _ = q.shape
    length, kv_heads, _ = keys.shape
    grouped = q.reshape(tokens, kv_heads, heads // kv_heads, -1)
    scores = torch.einsum("tkgd,skd->kgts", grouped * scale, keys)
    before = torch.arange(length - tokens, length)[:, None] - torch.arange(length)  # the key, of the query
    hidden = before < 0 if window is None else (before < 0) | (before >= window)
    scores = scores.masked_fill(hidden, -torch.inf)
    if sinks is not None:
        sink = sinks.to(q.dtype).reshape(kv_heads, -1, 1, 1).expand(-1, -1, tokens, 1)
        scores = torch.cat([scores, sink], -1)
    shares = scores.softmax(-1)[..., :length]
    return torch.einsum("kgts,skv->tkgv", shares, values).reshape(tokens, -1)


def turns_of(positions: torch.Tensor, rope: Rope, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, (tokens, rotary_dim / 2) each, times the rope's magnitude."""
    angles = positions.to(dtype)[:, None] * torch.from_numpy(rope.inverse_frequencies.copy()).to(dtype)
    return torch.cos(angles) * rope.magnitude, torch.sin(angles) * rope.magnitude
