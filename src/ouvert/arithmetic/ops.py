"""The operations as one object: what a model's graph receives, and what kernels and others imitate."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from ouvert.arithmetic import attention, dense, experts, gates, rotation, states
from ouvert.arithmetic.attention import KeyValues, Latents
from ouvert.arithmetic.dense import Array
from ouvert.arithmetic.experts import Experts
from ouvert.arithmetic.rotation import Rope
from ouvert.arithmetic.states import State

Wanted = Literal["last", "all", "none"]


class KeyValueMemory(Protocol):
    """A layer that caches keys and values."""

    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...


class StateMemory(Protocol):
    """A layer that caches a state."""

    @property
    def channels(self) -> int: ...
    @property
    def convolution(self) -> int: ...
    @property
    def states(self) -> int: ...
    @property
    def convolved(self) -> int: ...


class LatentMemory(Protocol):
    """A layer that caches one vector a token, whose beginning is also the value."""

    @property
    def width(self) -> int: ...
    @property
    def value_width(self) -> int: ...


# What one layer must cache of a sequence.
Memory = KeyValueMemory | LatentMemory | StateMemory
Cached = KeyValues | Latents | State


class Placeable(Protocol):
    """A parameter on its way in: it has a kind, and can be decoded whole or, if it holds experts, one by one."""

    @property
    def kind(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def decode(self) -> Array: ...
    def decode_expert(self, expert: int) -> Array: ...


class EncodedExperts:
    """Experts' weights as they are on disk; those that are used are decoded as they are used.

    All experts of a 20-billion-parameter model in float32 would take 80 GB; the few that a token chooses do not.
    """

    def __init__(self, parameter: Placeable, dtype: type[np.floating]) -> None:
        self.parameter, self.dtype = parameter, dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parameter.shape

    def __len__(self) -> int:
        return self.parameter.shape[0]

    def __getitem__(self, expert: int) -> Array:
        return self.parameter.decode_expert(expert).astype(self.dtype, copy=False)


class Cache:
    """What is cached of one sequence, layer by layer.

    `Ops.new_cache` makes one. Its methods and properties raise nothing.
    """

    def __init__(self, layers: Iterable[Cached]) -> None:
        self.layers = tuple(layers)

    @property
    def length(self) -> int:
        """Tokens that every layer has seen."""
        return min((layer.length for layer in self.layers), default=0)

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on, or from the last one before that every layer can go back to."""
        for layer in self.layers:
            layer.truncate(length)
        while any(layer.length > self.length for layer in self.layers) and self.length < length:
            self.truncate(self.length)

    def close(self) -> None:
        """Give the memory back. The sequence must not be used afterwards."""
        self.layers = ()


@dataclass(frozen=True, eq=False)
class LayerCache:
    """One layer's caches of all sequences in a batch, and which of the batch's tokens are whose."""

    parts: tuple[tuple[Any, slice], ...]  # Cached


@dataclass(frozen=True, eq=False)
class Batch:
    """The tokens of one step, sequence after sequence."""

    ids: Array  # (tokens,)
    positions: Array  # (tokens,): how many tokens of its sequence stand before each
    wanted: Array  # rows of the tokens whose logits are wanted
    caches: tuple[LayerCache, ...]  # one per layer


class Ops:
    """NumPy's version of every operation a graph may use, in float32 or float64.

    Methods that are called like a function of this part compute what that function does, and raise what it raises.
    Making one raises ValueError for another type of number.
    """

    def __init__(self, dtype: type[np.floating] = np.float32) -> None:
        if dtype not in (np.float32, np.float64):
            raise ValueError(f"Ops: dtype is {dtype}, expected numpy.float32 or numpy.float64.")
        self.dtype = dtype

    def place(self, parameter: Placeable) -> Any:
        """What the other methods want as a weight: the decoded array. Experts stay encoded until they are used.

        Raises what decoding the parameter raises.
        """
        if parameter.kind == "experts":
            return EncodedExperts(parameter, self.dtype)
        return parameter.decode().astype(self.dtype, copy=False)

    def new_cache(self, memories: Iterable[Memory]) -> Cache:
        """The cache of a sequence that has none yet. Raises nothing."""
        return Cache(self._cache_for(each) for each in memories)

    def _cache_for(self, memory: Any) -> Cached:
        if hasattr(memory, "channels"):
            return State(memory.channels, memory.convolution, memory.states, memory.convolved, self.dtype)
        if hasattr(memory, "value_width"):
            return Latents(memory.width, memory.value_width, self.dtype)
        return KeyValues(memory.kv_heads, memory.head_dim, self.dtype)

    def begin(
        self, work: Sequence[tuple[Cache, Sequence[int] | Array]], wanted: Wanted | Sequence[Wanted] = "last"
    ) -> Batch:
        """A batch of new tokens for several sequences; each goes on where its cache ends. No sequence comes twice.

        `wanted`, the same for all sequences or one for each: the logits after a sequence's last new token, after all
        of them, or none.

        Raises ValueError for a sequence that comes twice, and for `wanted` that is none of these or not one for each.
        """
        if len({id(cache) for cache, _ in work}) != len(work):
            raise ValueError("begin: a sequence appears twice in one batch. Join its tokens, or use two steps.")
        each = [wanted] * len(work) if isinstance(wanted, str) else list(wanted)
        if len(each) != len(work) or not {"last", "all", "none"}.issuperset(each):
            raise ValueError(
                f"begin: wanted is {wanted} for {len(work)} sequences, expected last, all or none, or one of them for "
                "each sequence."
            )
        ids, positions, parts, ends = [], [], [], [0]
        for cache, new in work:
            length = cache.length
            cache.truncate(length)  # a step that was interrupted may have left some layers ahead of others
            ids.append(np.asarray(new, np.int64))
            positions.append(np.arange(length, length + len(new)))
            parts.append(slice(ends[-1], ends[-1] + len(new)))
            ends.append(ends[-1] + len(new))
        rows: list[int] = []
        for start, end, wish in zip(ends[:-1], ends[1:], each, strict=True):
            rows += range({"all": start, "last": end - 1, "none": end}[wish], end)
        layers = zip(*(cache.layers for cache, _ in work), strict=True)
        return Batch(
            ids=np.concatenate(ids),
            positions=np.concatenate(positions),
            wanted=np.asarray(rows, np.int64),
            caches=tuple(LayerCache(tuple(zip(layer, parts, strict=True))) for layer in layers),
        )

    def attend(
        self,
        q: Array,
        k: Array,
        v: Array,
        cache: LayerCache,
        *,
        scale: float,
        window: int | None = None,
        sinks: Array | None = None,
    ) -> Array:
        """Append k and v to each sequence's cache, then let its tokens attend to it -> (tokens, q_heads * head_dim)."""
        mixed = []
        for cached, tokens in cache.parts:
            cached.append(k[tokens], v[tokens])
            mixed.append(
                attention.attend(q[tokens], cached.keys, cached.values, scale=scale, window=window, sinks=sinks)
            )
        return np.concatenate(mixed)

    def attend_latent(self, q: Array, latents: Array, cache: LayerCache, *, scale: float) -> Array:
        """Append the latents (tokens, width) to each sequence's cache, and let all heads of q look at them.

        q (tokens, heads, width) -> (tokens, heads * value_width)
        """
        mixed = []
        for cached, tokens in cache.parts:
            cached.append(latents[tokens])
            mixed.append(attention.attend(q[tokens], cached.keys, cached.values, scale=scale))
        return np.concatenate(mixed)

    def attend_expanded(
        self, mixed: Array, q_nope: Array, q_rope: Array, key: Any, value: Any, cache: LayerCache, *, scale: float
    ) -> Array:
        """`mixed` (tokens, heads * value) with the rows of the tokens that are computed in the expanded form replaced.

        q_nope (tokens, heads * nope), q_rope (tokens, heads, rope); key [head] (latent, nope), value [head] (value,
        latent). Stands after `attend_latent` of the same cache.
        """
        result = mixed.copy()
        for cached, tokens in cache.parts:
            count = tokens.stop - tokens.start
            before = cached.length - count
            chosen = min(max(cached.expanded - before, 0), count)
            if not chosen:
                continue
            rows = slice(tokens.start, tokens.start + chosen)
            matrices = [np.stack([weight[head] for head in range(len(weight))]) for weight in (key, value)]
            q = np.concatenate([dense.heads(q_nope[rows], matrices[0].shape[2]), q_rope[rows]], axis=-1)
            latents = cached.keys[0, : before + chosen]
            result[rows] = attention.attend_expanded(q, latents, *matrices, scale=scale)
        return result

    def attention_rows(
        self,
        q: Array,
        cache: LayerCache,
        *,
        scale: float,
        window: int | None = None,
        sinks: Array | None = None,
        top: int,
    ) -> attention.AttentionRows:
        """How q (tokens, q_heads, head_dim) shares out its attention, over what `attend` or `attend_latent` left.

        Rows are as long as the longest sequence. Of tokens in the expanded form: what the absorbed one would share,
        which is the same but for rounding.
        """
        longest = max((cached.length for cached, _ in cache.parts), default=0)
        parts = [
            attention.attention_rows(
                q[tokens], cached.keys, scale=scale, window=window, sinks=sinks, top=top, positions=longest
            )
            for cached, tokens in cache.parts
        ]
        return attention.AttentionRows(*map(np.concatenate, zip(*parts, strict=True)))

    def convolve(self, x: Array, weight: Array, bias: Array, cache: LayerCache) -> Array:
        """A causal convolution of each channel over its inputs, those of each sequence's cache included, and silu."""
        mixed = []
        for cached, tokens in cache.parts:
            cached.incoming = x[tokens]
            mixed.append(states.convolve(x[tokens], weight, bias, cached.now.inputs))
        return np.concatenate(mixed)

    def selective_scan(self, x: Array, dt: Array, A: Array, B: Array, C: Array, D: Array, cache: LayerCache) -> Array:
        """The selective scan, going on from each sequence's state, which it leaves as its tokens made it.

        Stands after the `convolve` of the same cache.
        """
        mixed = []
        for cached, tokens in cache.parts:
            y, after = states.selective_scan(x[tokens], dt[tokens], A, B[tokens], C[tokens], D, cached.now.state)
            cached.append(after)
            mixed.append(y)
        return np.concatenate(mixed)

    def ssd_scan(
        self, xBC: Array, dt: Array, A: Array, D: Array, cache: LayerCache, *, limits: tuple[float, float]
    ) -> Array:
        """The scan of Mamba-2, going on from each sequence's state, which it leaves as its tokens made it.

        Stands after the `convolve` of the same cache.
        """
        mixed = []
        for cached, tokens in cache.parts:
            y, after = states.ssd_scan(xBC[tokens], dt[tokens], A, D, cached.now.state, limits)
            cached.append(after)
            mixed.append(y)
        return np.concatenate(mixed)

    def selective_norms(self, x: Array, dt: Array, A: Array, B: Array, C: Array, D: Array, cache: LayerCache) -> Array:
        """The norm of every channel's state after each token of the `selective_scan` just before, of the same values.

        -> (tokens, channels)
        """
        norms = []
        for cached, tokens in cache.parts:
            _, after = states.selective_scan(x[tokens], dt[tokens], A, B[tokens], C[tokens], D, cached.before.state)
            norms.append(np.linalg.norm(after, axis=1))
        return np.concatenate(norms)

    def ssd_norms(
        self, xBC: Array, dt: Array, A: Array, D: Array, cache: LayerCache, *, limits: tuple[float, float]
    ) -> Array:
        """The norm of every head's state after each token of the `ssd_scan` just before, of the same values.

        -> (tokens, heads)
        """
        norms = []
        for cached, tokens in cache.parts:
            _, after = states.ssd_scan(xBC[tokens], dt[tokens], A, D, cached.before.state, limits)
            of_heads = after.reshape(*after.shape[:2], len(A), -1)  # (tokens, states, heads, head_dim)
            norms.append(np.sqrt(np.square(of_heads).sum(axis=(1, 3))))
        return np.concatenate(norms)

    def embed(self, ids: Array, table: Array) -> Array:
        """ids (tokens,), table (vocabulary, hidden) -> (tokens, hidden). Raises as arithmetic.embed."""
        return dense.embed(ids, table)

    def linear(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        """x (tokens, in), weight (out, in), bias (out,) -> (tokens, out). Raises as arithmetic.linear."""
        return dense.linear(x, weight, bias)

    def linear_heads(self, x: Array, weight: Any) -> Array:
        """x (tokens, heads * in), weight [head] (out, in) -> (tokens, heads * out)."""
        return dense.linear_heads(x, weight)

    def join(self, a: Array, b: Array, heads: int) -> Array:
        """a (tokens, heads * m), b (tokens, heads * n) -> (tokens, heads * (m + n))."""
        return dense.join(a, b, heads)

    def rms_norm(self, x: Array, weight: Array, eps: float, groups: int = 1) -> Array:
        """x (…, width), weight (width,) -> like x."""
        return dense.rms_norm(x, weight, eps, groups)

    def heads(self, x: Array, head_dim: int) -> Array:
        """(tokens, heads * head_dim) -> (tokens, heads, head_dim)."""
        return dense.heads(x, head_dim)

    def rotate(self, x: Array, positions: Array, rope: Rope) -> Array:
        """x (tokens, heads, head_dim), positions (tokens,) -> like x. Raises as arithmetic.rotate."""
        return rotation.rotate(x, positions, rope)

    def swiglu(self, gate: Array, up: Array) -> Array:
        """gate and up (tokens, inner) -> the same shape."""
        return gates.swiglu(gate, up)

    def clamped_swiglu(self, gate: Array, up: Array, alpha: float, limit: float) -> Array:
        """gate and up (tokens, inner) -> the same shape."""
        return gates.clamped_swiglu(gate, up, alpha, limit)

    def route_top_k(
        self, scores: Array, top_k: int, chosen: Array | None = None, *, normalised: bool = True
    ) -> tuple[Array, Array]:
        """scores (tokens, experts) -> chosen int32 and expert_weights, (tokens, top_k) each."""
        return experts.route_top_k(scores, top_k, chosen, normalised=normalised)

    def route_top_k_of_groups(
        self,
        scores: Array,
        correction: Array,
        top_k: int,
        groups: int,
        top_k_groups: int,
        *,
        normalised: bool,
        factor: float,
    ) -> tuple[Array, Array]:
        """scores (tokens, experts), correction (experts,) -> chosen int32 and expert_weights, (tokens, top_k) each."""
        return experts.route_top_k_of_groups(
            scores, correction, top_k, groups, top_k_groups, normalised=normalised, factor=factor
        )

    def mix_experts(self, x: Array, experts_: Experts, chosen: Array, expert_weights: Array) -> Array:
        """x (tokens, hidden), chosen and expert_weights (tokens, top_k) -> (tokens, hidden)."""
        return experts.mix_experts(x, experts_, chosen, expert_weights)

    def each_expert(self, x: Array, experts_: Experts, chosen: Array, expert_weights: Array) -> Array:
        """x (tokens, hidden), chosen and expert_weights (tokens, top_k) -> (tokens, top_k, hidden)."""
        return experts.each_expert(x, experts_, chosen, expert_weights)

    def select(self, x: Array, rows: Array) -> Array:
        """x (tokens, width), rows (wanted,) -> (wanted, width)."""
        return dense.select(x, rows)
