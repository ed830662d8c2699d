"""Causal attention over what a sequence has said so far."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ouvert.arithmetic.dense import Array

QUERIES_AT_ONCE = 256  # so that the table of scores stays small however long the prompt is


class KeyValues:
    """The keys and values of one layer of one sequence, (kv_heads, length, head_dim); room doubles as they come.

    Making one raises nothing. Its properties raise nothing.
    """

    def __init__(self, kv_heads: int, head_dim: int, dtype: type[np.floating]) -> None:
        self.length = 0
        self._keys = np.empty((kv_heads, 64, head_dim), dtype)
        self._values = np.empty((kv_heads, 64, head_dim), dtype)

    @property
    def keys(self) -> Array:
        """(kv_heads, length, head_dim), a view."""
        return self._keys[:, : self.length]

    @property
    def values(self) -> Array:
        """(kv_heads, length, head_dim), a view."""
        return self._values[:, : self.length]

    def append(self, k: Array, v: Array) -> None:
        """Take in the k and v, (tokens, kv_heads, head_dim) each, of the tokens that follow.

        Raises ValueError for k or v of another shape.
        """
        heads, room, head_dim = self._keys.shape
        if k.shape != v.shape or k.shape[1:] != (heads, head_dim):
            raise ValueError(
                f"attend: k is {k.shape} and v is {v.shape}, expected (tokens, {heads}, {head_dim}) for both. "
                "Was this cache made for another model?"
            )
        end = self.length + len(k)
        if end > room:
            more = np.empty((heads, max(end, 2 * room) - room, head_dim), self._keys.dtype)
            self._keys = np.concatenate([self._keys, more], axis=1)
            self._values = np.concatenate([self._values, more], axis=1)
        self._keys[:, self.length : end] = k.swapaxes(0, 1)
        self._values[:, self.length : end] = v.swapaxes(0, 1)
        self.length = end

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on. Raises nothing."""
        self.length = min(self.length, length)


class Latents:
    """What one layer with latent attention caches: one vector a token, whose beginning is also the value.

    keys (1, length, width) and values (1, length, value_width), the same numbers. DeepSeek-AI, arXiv:2405.04434, 2.1.

    Making one raises nothing. Its properties raise nothing.
    """

    def __init__(self, width: int, value_width: int, dtype: type[np.floating]) -> None:
        self._kept = KeyValues(1, width, dtype)
        self.value_width = value_width
        self.expanded = 0  # tokens before this position are computed in the expanded form: `attend_expanded`

    @property
    def length(self) -> int:
        """Tokens it holds."""
        return self._kept.length

    @property
    def keys(self) -> Array:
        """(1, length, width), a view."""
        return self._kept.keys

    @property
    def values(self) -> Array:
        """(1, length, value_width), a view."""
        return self._kept.keys[..., : self.value_width]

    def append(self, latents: Array) -> None:
        """Take in the vectors (tokens, width) of the tokens that follow.

        Raises ValueError for vectors of another width.
        """
        self._kept.append(latents[:, None], latents[:, None])

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on. Raises nothing."""
        self._kept.truncate(length)


def attend_expanded(q: Array, latents: Array, key: Array, value: Array, *, scale: float) -> Array:
    """Attention of the last `tokens` tokens of one sequence over latents of which all heads make keys and values.

    q (tokens, heads, nope + rope); latents (length, latent + rope), of which the last `rope` numbers end the keys of
    all heads; key (heads, latent, nope) and value (heads, value, latent). -> (tokens, heads * value)

    What `attend` over latents computes, with queries that `key` has taken to latents, in another order of products:
    (q · key) · latent = q · (key · latent). DeepSeek-AI, arXiv:2405.04434, 2.1.2. Raises ValueError as `attend` does.
    """
    width = key.shape[1]
    made = np.einsum("tl,hln->htn", latents[:, :width], key)  # (heads, length, nope)
    positions = np.broadcast_to(latents[None, :, width:], (*made.shape[:2], latents.shape[1] - width))
    keys = np.concatenate([made, positions], axis=-1)
    return attend(q, keys, np.einsum("tl,hvl->htv", latents[:, :width], value), scale=scale)


def softmax(scores: Array, sinks: Array | None = None) -> Array:
    """Each key's share of the attention: softmax along the last axis.

    `sinks`, one score per row (shape of scores without the last axis), take their share and give nothing for it; so
    rows sum to less than one. Xiao et al., arXiv:2309.17453; gpt-oss model card, arXiv:2508.10925. Raises nothing.
    """
    return shares(scores, sinks)[0]


def shares(scores: Array, sinks: Array | None = None) -> tuple[Array, Array]:
    """Each key's share, as `softmax` says, and the sink's, which together are 1; 0 without sinks. Raises nothing."""
    largest = scores.max(axis=-1, keepdims=True)
    if sinks is not None:
        largest = np.maximum(largest, sinks[..., None])
    weights = np.exp(scores - largest)
    total = weights.sum(axis=-1, keepdims=True)
    of_sink = np.zeros_like(total)
    if sinks is not None:
        of_sink = np.exp(sinks[..., None] - largest)
        total = total + of_sink
    return np.asarray(weights / total), np.asarray(of_sink / total)[..., 0]


class Shares(NamedTuple):
    """The attention of some of the queries: what is beyond [first_key, end_key) they do not see."""

    start: int  # the first of these queries, within the step
    stop: int
    first_key: int
    end_key: int
    of_keys: Array  # (kv_heads, group, queries, keys)
    of_sinks: Array  # (kv_heads, group, queries)


def shares_in_turn(
    q: Array, keys: Array, *, scale: float, window: int | None = None, sinks: Array | None = None
) -> Iterator[Shares]:
    """How the attention of q is shared out, QUERIES_AT_ONCE queries after the other. Arguments as `attend` has them.

    Raises ValueError if q_heads is not a multiple of kv_heads.
    """
    tokens, q_heads, head_dim = q.shape
    kv_heads, length, _ = keys.shape
    group = q_heads // kv_heads
    if group * kv_heads != q_heads:
        raise ValueError(f"attend: {q_heads} query heads cannot share {kv_heads} key heads evenly.")
    grouped = q.reshape(tokens, kv_heads, group, head_dim).transpose(1, 2, 0, 3)  # (kv_heads, group, tokens, head_dim)
    sink_rows = None if sinks is None else sinks.astype(q.dtype).reshape(kv_heads, group, 1)
    for start in range(0, tokens, QUERIES_AT_ONCE):
        stop = min(start + QUERIES_AT_ONCE, tokens)
        position = np.arange(length - tokens + start, length - tokens + stop)[:, None]
        first = 0 if window is None else max(0, int(position[0, 0]) - window + 1)
        last = int(position[-1, 0]) + 1
        key_position = np.arange(first, last)[None, :]
        hidden = key_position > position
        if window is not None:
            hidden |= key_position <= position - window
        scores = grouped[:, :, start:stop] @ keys[:, None, first:last].swapaxes(-1, -2) * q.dtype.type(scale)
        scores[..., hidden] = -np.inf
        yield Shares(start, stop, first, last, *shares(scores, sink_rows))


def attend(
    q: Array, keys: Array, values: Array, *, scale: float, window: int | None = None, sinks: Array | None = None
) -> Array:
    """Attention of the last `tokens` tokens of one sequence to all its tokens up to themselves.

    q (tokens, q_heads, head_dim); keys (kv_heads, length, head_dim) and values (kv_heads, length, value_dim), length >=
    tokens, where q_heads / kv_heads neighbouring query heads share one key head. With a `window` a token sees itself
    and the window - 1 tokens before it. `sinks` (q_heads,). -> (tokens, q_heads * value_dim)

    Raises ValueError if q_heads is not a multiple of kv_heads.
    """
    tokens, q_heads, _ = q.shape
    kv_heads = len(keys)
    mixed = np.empty((kv_heads, q_heads // kv_heads, tokens, values.shape[-1]), q.dtype)
    for each in shares_in_turn(q, keys, scale=scale, window=window, sinks=sinks):
        mixed[:, :, each.start : each.stop] = each.of_keys @ values[:, None, each.first_key : each.end_key]
    return mixed.transpose(2, 0, 1, 3).reshape(tokens, -1)


class AttentionRows(NamedTuple):
    """Where every query head of each token looks."""

    weights: Array  # (tokens, q_heads, positions): of all positions, exactly 0 where a token does not see
    sink: Array  # (tokens, q_heads): the sink's share, which the weights lack to 1; 0 without sinks
    top: Array  # (tokens, q_heads, top) int32: the heaviest positions, heaviest first; -1 where it sees fewer
    top_weights: Array  # (tokens, q_heads, top): their weights; 0 where it sees fewer


def attention_rows(
    q: Array,
    keys: Array,
    *,
    scale: float,
    window: int | None = None,
    sinks: Array | None = None,
    top: int,
    positions: int | None = None,
) -> AttentionRows:
    """How `attend` shares out its attention, for the same arguments. The lower position comes first among equals.

    `positions` is how long rows are, `length` if it is left out. Raises ValueError as `attend` does.
    """
    tokens, q_heads, _ = q.shape
    kv_heads, length, _ = keys.shape
    rows = np.zeros((tokens, kv_heads, q_heads // kv_heads, positions or length), q.dtype)
    of_sinks = np.zeros(rows.shape[:-1], q.dtype)
    for each in shares_in_turn(q, keys, scale=scale, window=window, sinks=sinks):
        rows[each.start : each.stop, ..., each.first_key : each.end_key] = each.of_keys.transpose(2, 0, 1, 3)
        of_sinks[each.start : each.stop] = each.of_sinks.transpose(2, 0, 1)
    rows, of_sinks = rows.reshape(tokens, q_heads, -1), of_sinks.reshape(tokens, q_heads)
    position = np.arange(length - tokens, length)
    return AttentionRows(rows, of_sinks, *heaviest(rows, position, window, top))


def heaviest(rows: Array, position: Array, window: int | None, top: int) -> tuple[Array, Array]:
    """The `top` heaviest positions of each row (tokens, heads, positions) and their weights: `AttentionRows`."""
    key = np.arange(rows.shape[-1])
    visible = key <= position[:, None]
    if window is not None:
        visible &= key > position[:, None] - window
    order = np.argsort(np.where(visible[:, None], -rows, np.inf), axis=-1, kind="stable")[..., :top]
    weights = np.take_along_axis(rows, order, axis=-1)
    seen = np.take_along_axis(np.broadcast_to(visible[:, None], rows.shape), order, axis=-1)
    missing = ((0, 0), (0, 0), (0, top - order.shape[-1]))
    found = np.pad(np.where(seen, order, -1).astype(np.int32), missing, constant_values=-1)
    return found, np.pad(np.where(seen, weights, 0).astype(rows.dtype), missing)
