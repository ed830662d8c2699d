"""Causal attention in PyTorch, of one sequence, with gradients: a few queries at a time, over the keys that they see.

PyTorch's own (`scaled_dot_product_attention`) looks at every key where there is a window or a sink, and takes a third
longer where there is none: docs/journal.md has the figures.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from ouvert.arithmetic import Rope

QUERIES = 64  # at a time, so that their scores stay in a core's cache
# Shares of attention are kept for the way back where they take no more, and computed again where they would.
MOST_KEPT = 32 << 20


class Block(NamedTuple):
    """Queries `start` to `stop`, and the keys that any of them sees."""

    start: int
    stop: int
    first: int
    end: int


def blocks_of(queries: int, keys: int, window: int | None) -> Iterator[Block]:
    """All queries, which are the last tokens of so many `keys`, some at a time. Raises nothing."""
    before = keys - queries
    for start in range(0, queries, QUERIES):
        stop = min(start + QUERIES, queries)
        yield Block(start, stop, 0 if window is None else max(0, before + start - window + 1), before + stop)


def hide(scores: torch.Tensor, block: Block, window: int | None, value: float) -> None:
    """Gives `scores` (kv_heads, group, queries, keys) a value wherever a query does not see the key: after itself, or
    before its window."""
    count, keys = scores.shape[-2:]
    scores[..., keys - count :].masked_fill_(torch.ones(count, count, dtype=torch.bool).triu(1), value)
    # Query i sees the keys from `oldest + i` on, counted from the block's first.
    oldest = keys - count + 1 - window if window is not None else -count
    if window is not None and oldest + count > 1:
        near = min(keys, oldest + count)
        query, key = torch.arange(count)[:, None], torch.arange(near)[None, :]
        scores[..., :near].masked_fill_(key < query + oldest, value)


class Attention(torch.autograd.Function):
    """q (kv_heads, group, tokens, head_dim), keys and values (kv_heads, length, …), sinks (kv_heads, group) or None ->
    (kv_heads, group, tokens, value_dim), with gradients by all of them."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        sinks: torch.Tensor | None,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        blocks = list(blocks_of(q.shape[2], keys.shape[1], window))
        size = q.shape[0] * q.shape[1] * sum((each.stop - each.start) * (each.end - each.first) for each in blocks)
        keeps = size * q.element_size() <= MOST_KEPT
        out = q.new_empty((*q.shape[:3], values.shape[-1]))
        logs, kept = q.new_empty(q.shape[:3]), []
        for each in blocks:
            scores = scores_of(q, keys, each, scale)
            hide(scores, each, window, -torch.inf)
            largest = scores.amax(-1)
            if sinks is not None:
                largest = torch.maximum(largest, sinks[..., None])
            total = scores.sub_(largest[..., None]).exp_().sum(-1)
            if sinks is not None:
                total += (sinks[..., None] - largest).exp_()
            shares = scores.div_(total[..., None])
            logs[:, :, each.start : each.stop] = total.log_().add_(largest)
            seen = values[:, each.first : each.end]
            mixed = torch.bmm(shares.flatten(1, 2), seen)
            out[:, :, each.start : each.stop] = mixed.view(*shares.shape[:3], -1)
            if keeps:
                kept.append(shares)
        ctx.save_for_backward(q, keys, values, sinks, out, logs, *kept)
        ctx.scale, ctx.window = scale, window
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """With shares P, dP = dY Vᵀ and D = rowsum(dY · Y): dS = P (dP - D); a sink's share p has dS = -p D."""
        (dy,) = gradients
        q, keys, values, sinks, out, logs, *kept = ctx.saved_tensors
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(keys), torch.zeros_like(values)
        weighed = (dy * out).sum(-1)  # (kv_heads, group, tokens)
        for n, each in enumerate(blocks_of(q.shape[2], keys.shape[1], ctx.window)):
            of_block = slice(each.start, each.stop)
            if kept:
                shares = kept[n]
            else:
                shares = scores_of(q, keys, each, ctx.scale).sub_(logs[:, :, of_block, None]).exp_()
                hide(shares, each, ctx.window, 0)
            flat = shares.flatten(1, 2)
            given = dy[:, :, of_block].flatten(1, 2)
            seen = slice(each.first, each.end)
            dv[:, seen].baddbmm_(flat.transpose(1, 2), given)
            ds = torch.bmm(given, values[:, seen].transpose(1, 2))
            ds.sub_(weighed[:, :, of_block].flatten(1, 2)[..., None]).mul_(flat).mul_(ctx.scale)
            dq[:, :, of_block] = torch.bmm(ds, keys[:, seen]).view(*shares.shape[:3], -1)
            dk[:, seen].baddbmm_(ds.transpose(1, 2), q[:, :, of_block].flatten(1, 2))
        of_sinks = None
        if sinks is not None and ctx.needs_input_grad[3]:
            of_sinks = -((sinks[..., None] - logs).exp_() * weighed).sum(-1)
        return dq, dk, dv, of_sinks, None, None


def scores_of(q: torch.Tensor, keys: torch.Tensor, block: Block, scale: float) -> torch.Tensor:
    """(kv_heads, group, queries, keys) of one block, nothing hidden."""
    asked = q[:, :, block.start : block.stop]
    scores = torch.bmm((asked * scale).flatten(1, 2), keys[:, block.first : block.end].transpose(1, 2))
    return scores.view(*asked.shape[:3], -1)


def attend(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    scale: float,
    window: int | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """`arithmetic.attend` of tensors: q (tokens, q_heads, head_dim), keys and values (length, kv_heads, …), of which
    the last are the tokens' own -> (tokens, q_heads * value_dim). Raises what torch raises for shapes that do not fit.
    """
    tokens, heads, _ = q.shape
    kv_heads = keys.shape[1]
    grouped = q.reshape(tokens, kv_heads, heads // kv_heads, -1).permute(1, 2, 0, 3).contiguous()
    of_heads = None if sinks is None else sinks.to(q.dtype).reshape(kv_heads, -1)
    keys, values = (each.transpose(0, 1).contiguous() for each in (keys, values))
    mixed = Attention.apply(grouped, keys, values, of_heads, scale, window)  # type: ignore[no-untyped-call]
    result: torch.Tensor = mixed.permute(2, 0, 1, 3).reshape(tokens, -1)
    return result


def rotate(x: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """`arithmetic.rotate` of x (tokens, heads, head_dim) by the cosines and sines of `turns_of`."""
    cos, sin = turns
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], -1)


def turns_of(positions: torch.Tensor, rope: Rope, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, (tokens, 1, rotary_dim / 2) each, times the rope's magnitude."""
    angles = positions.to(dtype)[:, None] * torch.from_numpy(rope.inverse_frequencies.copy()).to(dtype)
    return (torch.cos(angles) * rope.magnitude)[:, None], (torch.sin(angles) * rope.magnitude)[:, None]
