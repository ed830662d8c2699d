"""The operations of a graph in PyTorch, with gradients: the third set, beside NumPy's and C++'s (`models.Operations`).

Weights are what a model has been placed with: packed matrices and float32 arrays, of which there is no gradient; or
tensors. `Adapted` is a weight that carries an adapter. What a layer has chosen in the pass before (experts) can be
handed back, so that running it again takes the same way.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn.functional import silu

from ouvert.arithmetic import Experts, Rope
from ouvert.kernels import Packed, Products, unpack
from ouvert.models import Parameter
from ouvert.tuning import attention, norms
from ouvert.tuning.error import TuningError
from ouvert.tuning.feed_forward import FeedForward, feed_forward
from ouvert.tuning.products import Carrying, PackedProduct, Product, dense, frozen_linear, one_of

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """A weight that carries an adapter, as it is learnt. a (rank, in) and b (out, rank), or of experts one of each for
    every one of `experts`."""

    weight: Any
    name: str
    a: torch.Tensor
    b: torch.Tensor
    scale: float
    experts: tuple[int, ...] | None = None


@dataclass(eq=False)
class Past:
    """What one layer has of a sequence: keys and values (length, heads, width), or latents (length, 1, width)."""

    value_width: int = 0  # of latents: how much of one is also the value
    expanded: int = 0  # tokens before this position are computed in the expanded form
    keys: torch.Tensor | None = None
    values: torch.Tensor | None = None

    @property
    def length(self) -> int:
        return 0 if self.keys is None else len(self.keys)

    def append(self, keys: torch.Tensor, values: torch.Tensor | None = None) -> None:
        self.keys = keys if self.keys is None else torch.cat([self.keys, keys])
        if values is not None:
            self.values = values if self.values is None else torch.cat([self.values, values])


@dataclass(frozen=True, slots=True, eq=False)
class LayerPast:
    """One layer's pasts of all sequences of a batch, and which of the batch's tokens are whose."""

    parts: tuple[tuple[Past, slice], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The new tokens of some sequences, one after the other: `models.Batch` of tensors."""

    ids: torch.Tensor
    positions: torch.Tensor
    wanted: torch.Tensor
    caches: tuple[LayerPast, ...]


@dataclass(eq=False)
class Later:
    """A value that is computed if somebody needs it: absorbed latent attention, where the expanded form takes its
    place."""

    compute: Callable[[], torch.Tensor]


class Half(NamedTuple):
    """x that goes through a gate, or through what it shuts: computed together with the other."""

    x: torch.Tensor
    weight: Any


class Gated(NamedTuple):
    """What is inside a feed-forward layer, before its last product: computed together with that."""

    x: torch.Tensor
    gate: Any
    up: Any


def now(x: Any) -> torch.Tensor:
    """The numbers of a value. Raises what computing it raises."""
    found: torch.Tensor = x.compute() if isinstance(x, Later) else x
    return found


@dataclass(eq=False)
class TorchOps:
    """All operations of a graph but the scans of Mamba, which have no backward pass here.

    `gated`: identities of the weights of gates, and of what these shut, in feed-forward layers, which are computed
    together. `unread`: the last weight of such a layer where nobody reads what comes of it, but for gradients.
    `products` compute what packed weights are multiplied with.
    `exact`: products of packed weights with activations in float32, where serving rounds them. `chosen`: experts that
    were chosen before, int64 (tokens, top_k): of one layer. `leaves`: the pairs that were used, by name and expert, of
    which gradients can be asked; each is made when it is first used, of the same memory as the adapter's.

    Methods raise TuningError for what there is not, ValueError or what torch raises for shapes that do not fit.
    """

    dtype: torch.dtype = torch.float32
    products: Products = field(default_factory=Products)
    exact: bool = False
    chosen: torch.Tensor | None = None
    gated: frozenset[int] = frozenset()
    unread: Any = None
    leaves: dict[tuple[str, int | None], tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    vectors: dict[int, tuple[Array, torch.Tensor]] = field(default_factory=dict)
    turns: dict[int, tuple[Rope, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]] = field(default_factory=dict)

    def place(self, parameter: Parameter) -> torch.Tensor:
        """A tensor of the decoded numbers. Raises what decoding them raises."""
        return torch.from_numpy(np.array(parameter.decode())).to(self.dtype)

    def begin(self, ids: Sequence[Array], pasts: Sequence[Sequence[Past]]) -> Batch:
        """The tokens of some sequences, each going on where its pasts, one for each layer, end. All rows are wanted.

        Raises ValueError where there is not one list of pasts for each sequence.
        """
        parts, positions, start = [], [], 0
        for new, past in zip(ids, pasts, strict=True):
            before = min((each.length for each in past), default=0)
            positions.append(torch.arange(before, before + len(new)))
            parts.append(slice(start, start := start + len(new)))
        layers = zip(*pasts, strict=True)
        return Batch(
            ids=torch.from_numpy(np.concatenate([np.asarray(new, np.int64) for new in ids])),
            positions=torch.cat(positions),
            wanted=torch.arange(start),
            caches=tuple(LayerPast(tuple(zip(layer, parts, strict=True))) for layer in layers),
        )

    # --- every token by itself

    def embed(self, ids: torch.Tensor, table: Any) -> torch.Tensor:
        if isinstance(table, Packed):
            return torch.from_numpy(
                unpack(table.layout, table.data, table.rows, table.columns, ids.numpy().astype(np.int32))
            )
        rows: torch.Tensor = table[ids]
        return rows

    def linear(self, x: Any, weight: Any, bias: Any = None) -> Any:
        if isinstance(x, Gated):
            gate, up, down = (self._carrying(each, None) for each in (x.gate, x.up, weight))
            return feed_forward(x.x, FeedForward(gate, up, down, weight is self.unread, self._native))
        if id(weight) in self.gated:
            return Half(now(x), weight)
        return self._product(now(x), weight, self._vector(bias))

    def rms_norm(self, x: torch.Tensor, weight: Any, eps: float, groups: int = 1) -> torch.Tensor:
        return norms.rms_norm(x, self._vector(weight), eps, groups, self.products)

    def heads(self, x: Any, head_dim: int) -> Any:
        if isinstance(x, Later):
            return Later(lambda: self.heads(now(x), head_dim))
        return x.reshape(len(x), -1, head_dim)

    def rotate(self, x: torch.Tensor, positions: torch.Tensor, rope: Rope) -> torch.Tensor:
        kept = self.turns.get(id(rope))
        if kept is None or kept[1] is not positions:
            kept = self.turns[id(rope)] = (rope, positions, attention.turns_of(positions, rope, self.dtype))
        return norms.rotate(x, kept[2], self.products)

    def swiglu(self, gate: Any, up: Any) -> Any:
        if isinstance(gate, Half) and isinstance(up, Half):
            return Gated(gate.x, gate.weight, up.weight)
        gated: torch.Tensor = silu(gate) * up
        return gated

    def clamped_swiglu(self, gate: torch.Tensor, up: torch.Tensor, alpha: float, limit: float) -> torch.Tensor:
        gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
        return gate * torch.sigmoid(alpha * gate) * (up + 1)

    def join(self, a: Any, b: Any, heads: int) -> Any:
        if isinstance(a, Later) or isinstance(b, Later):
            return Later(lambda: self.join(now(a), now(b), heads))
        both = [part.reshape(len(a), heads, -1) for part in (a, b)]
        return torch.cat(both, -1).reshape(len(a), -1)

    def select(self, x: Any, rows: torch.Tensor) -> torch.Tensor:
        return now(x)[rows]

    # --- attention

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        cache: LayerPast,
        *,
        scale: float,
        window: int | None = None,
        sinks: Any = None,
    ) -> torch.Tensor:
        mixed, score = [], self._vector(sinks)
        counts = [tokens.stop - tokens.start for _, tokens in cache.parts]
        each = zip(cache.parts, *(torch.split(x, counts) for x in (q, k, v)), strict=True)
        for (past, _), queries, new_keys, new_values in each:
            past.append(new_keys, new_values)
            mixed.append(self._attend(queries, past.keys, past.values, scale=scale, window=window, sinks=score))
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def _attend(self, q: torch.Tensor, keys: Any, values: Any, **how: Any) -> torch.Tensor:
        return attention.attend(q, keys, values, products=self.products, **how)

    def attend_latent(self, q: Any, latents: torch.Tensor, cache: LayerPast, *, scale: float) -> Any:
        for past, tokens in cache.parts:
            past.append(latents[tokens][:, None])

        def absorbed() -> torch.Tensor:
            queries, mixed = now(q), []
            for past, tokens in cache.parts:
                values = past.keys[..., : past.value_width]  # type: ignore[index]
                mixed.append(self._attend(queries[tokens], past.keys, values, scale=scale))
            return torch.cat(mixed)

        return Later(absorbed)

    def attend_expanded(
        self,
        mixed: Any,
        q_nope: torch.Tensor,
        q_rope: torch.Tensor,
        key: Any,
        value: Any,
        cache: LayerPast,
        *,
        scale: float,
    ) -> Any:
        parts = []
        for past, tokens in cache.parts:
            count = tokens.stop - tokens.start
            before = past.length - count
            chosen = min(max(past.expanded - before, 0), count)
            if chosen < count and isinstance(mixed, Later):
                mixed = now(mixed)
            if chosen:
                rows = slice(tokens.start, tokens.start + chosen)
                parts.append(self._expanded(q_nope[rows], q_rope[rows], key, value, past, before + chosen, scale))
            if chosen < count:
                parts.append(mixed[tokens.start + chosen : tokens.stop])
        return torch.cat(parts)

    def _expanded(
        self, q_nope: torch.Tensor, q_rope: torch.Tensor, key: Any, value: Any, past: Past, length: int, scale: float
    ) -> torch.Tensor:
        """`arithmetic.attend_expanded`: every head makes its keys and values of the first `length` latents."""
        makes_keys, makes_values = self._matrices(key), self._matrices(value)
        latents = past.keys[:length, 0]  # type: ignore[index]
        width = makes_keys.shape[1]
        made = torch.einsum("tl,hln->thn", latents[:, :width], makes_keys)
        positions = latents[:, None, width:].expand(-1, len(makes_keys), -1)
        q = torch.cat([q_nope.reshape(len(q_nope), len(makes_keys), -1), q_rope], -1)
        values = torch.einsum("tl,hvl->thv", latents[:, :width], makes_values)
        return self._attend(q, torch.cat([made, positions], -1), values, scale=scale)

    def linear_heads(self, x: Any, weight: Any) -> Any:
        def product() -> torch.Tensor:
            matrices, rows = self._matrices(weight), now(x)
            parts = rows.reshape(len(rows), len(matrices), -1)
            return torch.einsum("thi,hoi->tho", parts, matrices).reshape(len(rows), -1)

        return Later(product)

    # --- experts

    def route_top_k(
        self, scores: torch.Tensor, top_k: int, chosen: torch.Tensor | None = None, *, normalised: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = self._chosen(scores, top_k) if chosen is None else chosen
        if not normalised:
            return chosen, scores.softmax(-1).gather(-1, chosen)
        return chosen, scores.gather(-1, chosen).softmax(-1)

    def route_top_k_of_groups(
        self,
        scores: torch.Tensor,
        correction: Any,
        top_k: int,
        groups: int,
        top_k_groups: int,
        *,
        normalised: bool,
        factor: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        likings = scores.sigmoid()
        corrected = (likings + self._vector(correction)).detach()
        grouped = corrected.reshape(len(scores), groups, -1)
        worth = grouped.topk(2, -1).values.sum(-1)
        best = torch.sort(worth, dim=-1, descending=True, stable=True).indices[:, :top_k_groups]
        allowed = torch.zeros_like(worth, dtype=torch.bool).scatter(-1, best, True)
        chosen = self._chosen(torch.where(allowed[..., None], grouped, -torch.inf).reshape(scores.shape), top_k)
        weights = likings.gather(-1, chosen)
        if normalised:
            weights = weights / weights.sum(-1, keepdim=True)
        return chosen, weights * factor

    def mix_experts(
        self, x: torch.Tensor, experts: Experts, chosen: torch.Tensor, expert_weights: torch.Tensor
    ) -> torch.Tensor:
        """Rows are gathered expert after expert, in ascending order, and added up in that order."""
        top_k = chosen.shape[1]
        order = torch.sort(chosen.reshape(-1), dim=0, stable=True).indices  # expert by expert, the places in `chosen`
        counts = torch.bincount(chosen.reshape(-1)).tolist()
        tokens = order // top_k
        rows = torch.split(x[tokens], counts)
        answers = [self._one_expert(part, experts, e) for e, part in enumerate(rows) if len(part)]
        weighed = torch.cat(answers) * expert_weights.reshape(-1)[order, None]
        return torch.zeros_like(x).index_add(0, tokens, weighed)

    def _one_expert(self, x: torch.Tensor, experts: Experts, e: int) -> torch.Tensor:
        def product(of: torch.Tensor, name: str) -> torch.Tensor:
            bias = self._vector(getattr(experts, f"{name}_bias"))
            return self._product(of, getattr(experts, name), None if bias is None else bias[e], e)

        gate, up = product(x, "gate"), product(x, "up")
        if experts.limit is None:
            return product(self.swiglu(gate, up), "down")
        return product(self.clamped_swiglu(gate, up, experts.alpha, experts.limit), "down")

    # --- what there is not

    def convolve(self, x: Any, weight: Any, bias: Any, cache: Any) -> Any:
        raise without("convolve", "the scans of Mamba have no backward pass here yet")

    def selective_scan(self, x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, cache: Any) -> Any:
        raise without("selective_scan", "the scans of Mamba have no backward pass here yet")

    def ssd_scan(self, xBC: Any, dt: Any, A: Any, D: Any, cache: Any, *, limits: tuple[float, float]) -> Any:
        raise without("ssd_scan", "the scans of Mamba have no backward pass here yet")

    def attention_rows(self, q: Any, cache: Any, **given: Any) -> Any:
        raise without("attention_rows", "it is for whoever looks, and nobody looks at what is learnt")

    def each_expert(self, x: Any, experts: Any, chosen: Any, expert_weights: Any) -> Any:
        raise without("each_expert", "it is for whoever looks, and nobody looks at what is learnt")

    def selective_norms(self, x: Any, dt: Any, A: Any, B: Any, C: Any, D: Any, cache: Any) -> Any:
        raise without("selective_norms", "it is for whoever looks, and nobody looks at what is learnt")

    def ssd_norms(self, xBC: Any, dt: Any, A: Any, D: Any, cache: Any, *, limits: tuple[float, float]) -> Any:
        raise without("ssd_norms", "it is for whoever looks, and nobody looks at what is learnt")

    # --- weights

    def _product(self, x: torch.Tensor, weight: Any, bias: torch.Tensor | None, e: int | None = None) -> torch.Tensor:
        """x times a weight, or its expert `e`, with what its adapter adds."""
        if isinstance(weight, torch.Tensor):
            return torch.nn.functional.linear(x, weight if e is None else weight[e], bias)
        return frozen_linear(x, self._carrying(weight, bias, e))

    def _carrying(self, weight: Any, bias: torch.Tensor | None, e: int | None = None) -> Carrying:
        """A frozen weight, or its expert `e`, and what it carries."""
        if not isinstance(weight, Adapted):
            return Carrying(self._frozen(weight, e), bias)
        return Carrying(self._frozen(weight.weight, e), bias, *self._pair(weight, e))

    def _frozen(self, weight: Any, e: int | None) -> Product:
        if not isinstance(weight, Packed):
            raise without("linear", f"a weight is of the type {type(weight).__name__}; expected a packed one in memory")
        return PackedProduct(weight, self.products, self.exact, e)

    def _pair(self, weight: Adapted, e: int | None) -> tuple[torch.Tensor | None, torch.Tensor | None, float]:
        """a, b and scale of a weight, or of its expert `e`; None, None and 0 where that one carries nothing."""
        if e is not None and e not in (weight.experts or ()):
            return None, None, 0.0
        if (weight.name, e) not in self.leaves:
            at: Any = slice(None) if e is None else weight.experts.index(e)  # type: ignore[union-attr]
            self.leaves[weight.name, e] = (
                weight.a.detach()[at].requires_grad_(),
                weight.b.detach()[at].requires_grad_(),
            )
        return (*self.leaves[weight.name, e], weight.scale)

    def _matrices(self, weight: Any) -> torch.Tensor:
        """(heads, out, in) of a weight that holds a matrix for each head."""
        if isinstance(weight, Packed):
            return torch.stack([dense(one_of(weight, head)) for head in range(weight.experts)])
        matrices: torch.Tensor = weight
        return matrices

    @property
    def _native(self) -> Products | None:
        """What computes float32 natively; None for other types of numbers."""
        return self.products if self.dtype == torch.float32 else None

    def _vector(self, weight: Any) -> Any:
        """A norm, bias or sinks as a tensor: a copy of an array, made once."""
        if weight is None or isinstance(weight, torch.Tensor):
            return weight
        kept = self.vectors.get(id(weight))
        if kept is None:
            kept = self.vectors[id(weight)] = (weight, torch.from_numpy(np.array(weight)).to(self.dtype))
        return kept[1]

    def _chosen(self, scores: torch.Tensor, top_k: int) -> torch.Tensor:
        """The experts that were chosen before, or the best `top_k`, the lower number at a tie."""
        if self.chosen is not None:
            return self.chosen
        return torch.sort(scores.detach(), dim=-1, descending=True, stable=True).indices[:, :top_k]


def without(operation: str, why: str) -> TuningError:
    """The error for what these operations do not have."""
    return TuningError(f"{operation}: {why}. Run this model with arithmetic.Ops or the kernels, which have everything.")


def pasts_of(memories: Iterable[Any], *, expanded: int = 0) -> list[Past]:
    """The pasts of a sequence that has none yet, one for each layer. `expanded`: tokens that latent attention computes
    in the expanded form. Raises nothing."""
    return [Past(getattr(memory, "value_width", 0), expanded) for memory in memories]
