"""Causal attention in PyTorch, of one sequence, with gradients: a sink is one more key, whose value is nothing."""

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from ouvert.arithmetic import Rope


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
    value_dim = values.shape[-1]
    if sinks is not None:
        q, keys, values = with_sinks(q, keys, values, sinks / scale)
    if values.shape[-1] < q.shape[-1]:  # latent attention; the fast kernel wants both of one width
        values = pad(values, (0, q.shape[-1] - values.shape[-1]))
    mask = None if window is None and len(q) == len(keys) else visible(len(q), len(keys), window, sinks is not None)
    mixed = scaled_dot_product_attention(
        q.transpose(0, 1)[None],
        keys.transpose(0, 1)[None],
        values.transpose(0, 1)[None],
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=heads != keys.shape[1],
    )
    return mixed[0].transpose(0, 1)[-tokens:, :, :value_dim].reshape(tokens, -1)


def with_sinks(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, sinks: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One more number in each head, which is the sink (q_heads,) in queries, 1 in a key before all others and 0 in
    these: so the score of that key is the sink, exactly. One more query stands before the others, so that the rule
    "no key after the query" stays the same. Shapes as `attend` has them."""
    q = torch.cat([q, sinks.to(q.dtype).expand(len(q), -1)[..., None]], -1)
    keys = pad(keys, (0, 1, 0, 0, 1, 0))
    mark = torch.zeros_like(keys)
    mark[0, :, -1] = 1
    return pad(q, (0, 0, 0, 0, 1, 0)), keys + mark, pad(values, (0, 1, 0, 0, 1, 0))


def visible(queries: int, keys: int, window: int | None, sink: bool) -> torch.Tensor:
    """Which keys each query sees, bool (queries, keys): none after itself, within the window, and the sink."""
    position = torch.arange(keys - queries, keys)[:, None]
    key = torch.arange(keys)[None, :]
    seen = key <= position
    if window is not None:
        seen &= key > position - window
    if sink:
        seen[:, 0] = True
    return seen


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
