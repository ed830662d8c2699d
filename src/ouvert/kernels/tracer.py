"""The operations of `arithmetic.Ops`, noted down instead of computed.

A graph is run once with a `Tracer`: values are `Traced`, every operation becomes an `Op` of a list, and `finish` turns
the list into a native program that is replayed for every step. So a graph must be straight-line code over operations:
it cannot look at a value. What happens in between, in this order:

1. Rows that nobody looks at are not computed: `select` moves up as far as the attention before it.
   Products take activations as int8; the one that makes logits takes them in 16 bits, for what is rounded there goes
   straight into the answer.
2. Neighbours that share work become one instruction (norm and int8 activations, products of one input, gate and up,
   product and residual, rotation and cache). A fused instruction computes the same numbers, bit for bit, as its parts.
3. Values that are not needed at the same time share memory.

A value that is watched is kept until the end of the step, and what would have hidden it is not fused.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

import ouvert.kernels._native as _native
from ouvert.arithmetic import AttentionRows, Experts, Rope, WeightShape
from ouvert.kernels.linear import Packed
from ouvert.kernels.lowering import lower
from ouvert.kernels.pages import Layer
from ouvert.kernels.program import CacheType, Program
from ouvert.kernels.trace import Memory, Op, Rows, Value
from ouvert.kernels.traced import Batch, Ids, LayerCache, Positions, Traced, TracingError, WantedRows

Array = np.ndarray[Any, np.dtype[Any]]

# Heads that may share one kv head: the attention's work area is made for tiles of so many rows.
MOST_HEADS_TOGETHER = 256
# Tokens before its window that a windowed layer goes on holding, so that a conversation can be cut back to an earlier
# turn without computing everything again.
KEPT_BEFORE_WINDOW = 4096


class Tracer:
    """Takes a graph down. Used once: `begin`, the graph, `finish`.

    `exact` keeps activations in float32 where they are otherwise rounded to 8 bits. `cache` is how keys and values are
    kept: "f16", "f32", or "q8" for 8 bits and a float32 scale for every 32 of them.

    Methods that are called like an operation of `arithmetic.Ops` mean what it means and take the same shapes; they
    raise TracingError for shapes that do not fit, and for what a program cannot do. Making one raises nothing.
    """

    def __init__(self, *, exact: bool = False, cache: CacheType = "f16") -> None:
        self.exact, self.cache = exact, cache
        self.ops: list[Op] = []
        self.memories: tuple[Memory, ...] = ()
        self.vocabulary, self.places = 0, set[str]()
        self.carriers: dict[int, str] = {}  # weights that adapters may add to: their names, by `id`
        self.adaptable: dict[str, WeightShape] = {}  # those of them that a product was of

    # --- what surrounds a graph ---

    def begin(self, memories: Iterable[Memory]) -> Batch:
        """The batch to run the graph on, for a model whose layers cache `memories`. Raises nothing."""
        self.memories = tuple(memories)
        return Batch(Ids(), Positions(), WantedRows(), tuple(LayerCache(n) for n in range(len(self.memories))))

    def watch(self, name: str, traced: Traced) -> None:
        """Keep this value, for every token, until the end of each step: `Program.seen(name)`. Raises nothing."""
        traced.value.watched.append(name)

    def edit(self, name: str, x: Traced, chosen: Traced | None = None) -> Traced:
        """x, changed where a sequence has edits of this name: `Edits`. `chosen`: the experts that x are the weights of.
        Raises nothing."""
        self.places.add(name)
        reads = [x] if chosen is None else [x, chosen]
        return self._op("edit", reads, x.value.width, x.value.rows, x.head_dim, name=name)

    def adapt(self, weights: Mapping[str, Any]) -> None:
        """Have room for additions to the products of these weights of the model, by name: `Adapters`.

        Raises TracingError if two names are of one weight.
        """
        self.carriers = {id(weight): name for name, weight in weights.items()}
        if len(self.carriers) < len(weights):
            twice = sorted(name for name, weight in weights.items() if self.carriers[id(weight)] != name)
            raise TracingError(f"adapting {', '.join(twice)}: the same weight has another name, too.")

    def finish(
        self,
        logits: Traced,
        *,
        threads: int,
        instruction_set: str | None = None,
        kept_before_window: int = KEPT_BEFORE_WINDOW,
        beside: Program | None = None,
    ) -> Program:
        """The program that computes `logits`, which must be of the wanted rows.

        `threads` compute. `instruction_set` is "plain", "avx2" or "avx512"; left out, the widest that is here.
        `kept_before_window`: tokens before its window that a windowed layer holds. `beside`: a program of the same
        model and settings, whose threads and caches it shares; these three then say nothing. Raises TracingError
        for logits of other rows, and for what a program cannot do; ValueError for an instruction set that this machine
        does not have.
        """
        if logits.value.rows != "wanted":
            raise TracingError(
                "finish: the logits are of every token, expected those of the wanted ones. "
                "Let the graph select(x, batch.wanted) before its last norm."
            )
        layers = list(map(Layer.of, self.memories))
        if beside is None:
            chosen = instruction_set or _native.best_instruction_set()
            native = _native.Program(threads, chosen, layers, self.cache, kept_before_window)
        else:
            native = beside.native_sibling()
        native.vocabulary = self.vocabulary
        looking, holds = lower(self.ops, logits.value, native, exact=self.exact, memories=self.memories)
        return Program(
            native,
            vocabulary=self.vocabulary,
            width=logits.value.width,
            cache_type=self.cache,
            layers=layers,
            looking=looking,
            holds=holds,
            places=frozenset(self.places),
            adaptable=self.adaptable,
        )

    # --- the operations: shapes and meanings are arithmetic.Ops's; each raises TracingError where shapes do not fit ---

    def embed(self, ids: Ids, table: Packed) -> Traced:
        self.vocabulary = table.rows
        return self._op("embed", [], table.columns, "tokens", table=table)

    def linear(self, x: Traced, weight: Packed, bias: Array | None = None) -> Traced:
        if x.value.width != weight.columns:
            raise TracingError(
                f"linear: x has {x.value.width} columns, expected {weight.columns} as in weight "
                f"({weight.rows}, {weight.columns}). Weights are (out, in)."
            )
        if bias is not None and bias.shape != (weight.rows,):
            raise TracingError(f"linear: bias is {bias.shape}, expected ({weight.rows},), one for each row of weight.")
        name = self._carrier(weight)
        return self._op("linear", [x], weight.rows, x.value.rows, weight=weight, bias=bias, name=name)

    def rms_norm(self, x: Traced, weight: Array, eps: float, groups: int = 1) -> Traced:
        width = x.head_dim or x.value.width
        if len(weight) != width:
            raise TracingError(
                f"rms_norm: weight has {len(weight)} values, expected {width}, the length of x's last axis. "
                "Is `heads` missing or wrong?"
            )
        if width % groups:
            raise TracingError(f"rms_norm: {width} columns cannot be cut into {groups} groups.")
        each = width // groups
        return self._op("rms_norm", [x], x.value.width, x.value.rows, x.head_dim, weight=weight, eps=eps, each=each)

    def heads(self, x: Traced, head_dim: int) -> Traced:
        if x.value.width % head_dim:
            raise TracingError(f"heads: {x.value.width} columns cannot be cut into heads of {head_dim}.")
        return Traced(self, x.value, head_dim)

    def rotate(self, x: Traced, positions: Positions, rope: Rope) -> Traced:
        head_dim = x.head_dim or x.value.width
        if 2 * len(rope.inverse_frequencies) > head_dim:
            raise TracingError(
                f"rotate: heads have {head_dim} values, expected at least {2 * len(rope.inverse_frequencies)} for this "
                "rope. Is `heads` missing or wrong?"
            )
        return self._op("rotate", [x], x.value.width, x.value.rows, head_dim, rope=rope, each=head_dim)

    def attend(
        self,
        q: Traced,
        k: Traced,
        v: Traced,
        cache: LayerCache,
        *,
        scale: float,
        window: int | None = None,
        sinks: Array | None = None,
    ) -> Traced:
        memory: Any = self.memories[cache.layer]
        width = memory.kv_heads * memory.head_dim
        if k.value.width != width or v.value.width != width or q.value.width % width:
            raise TracingError(
                f"attend: q, k and v have {q.value.width}, {k.value.width} and {v.value.width} columns, expected k "
                f"and v of {width} ({memory.kv_heads} heads of {memory.head_dim}, as cached) and q a multiple."
            )
        if q.value.width // width > MOST_HEADS_TOGETHER:
            raise TracingError(
                f"attend: {q.value.width // width} query heads share one key head, expected at most "
                f"{MOST_HEADS_TOGETHER}. Run this model with arithmetic.Ops."
            )
        if window != memory.window:
            raise TracingError(
                f"attend: the window is {window}, but layer {cache.layer} caches one of {memory.window}. "
                "Both come from the model's configuration and must agree."
            )
        return self._op("attend", [q, k, v], q.value.width, "tokens", layer=cache.layer, scale=scale, sinks=sinks)

    def attend_latent(self, q: Traced, latents: Traced, cache: LayerCache, *, scale: float) -> Traced:
        memory: Any = self.memories[cache.layer]
        heads, rest = divmod(q.value.width, memory.width)
        if latents.value.width != memory.width or rest:
            raise TracingError(
                f"attend_latent: q and latents have {q.value.width} and {latents.value.width} columns, expected the "
                f"former a multiple of {memory.width}, as cached, the latter that."
            )
        if heads > MOST_HEADS_TOGETHER:
            raise TracingError(
                f"attend_latent: {heads} heads, expected at most {MOST_HEADS_TOGETHER}. "
                "Run this model with arithmetic.Ops."
            )
        return self._op(
            "attend_latent", [q, latents], heads * memory.value_width, "tokens", layer=cache.layer, scale=scale
        )

    def attend_expanded(
        self,
        mixed: Traced,
        q_nope: Traced,
        q_rope: Traced,
        key: Packed,
        value: Packed,
        cache: LayerCache,
        *,
        scale: float,
    ) -> Traced:
        memory: Any = self.memories[cache.layer]
        heads, latent = key.experts, memory.value_width
        given = (q_nope.value.width, q_rope.value.width, mixed.value.width, key.rows, value.columns, value.experts)
        wanted = (heads * key.columns, heads * (memory.width - latent), heads * value.rows, latent, latent, heads)
        if given != wanted:
            raise TracingError(
                f"attend_expanded: q_nope, q_rope and mixed have {given[:3]} columns, key makes queries of {given[3]} "
                f"numbers and value reads {given[4]} for {given[5]} heads; expected {wanted}, as cached and as key has "
                "heads."
            )
        return self._op(
            "attend_expanded",
            [mixed, q_nope, q_rope],
            mixed.value.width,
            "tokens",
            layer=cache.layer,
            key=key,
            value=value,
            scale=scale,
        )

    def linear_heads(self, x: Traced, weight: Packed) -> Traced:
        if x.value.width != weight.experts * weight.columns:
            raise TracingError(
                f"linear_heads: x has {x.value.width} columns, expected {weight.columns} for each of {weight.experts} "
                f"heads as in weight ({weight.experts}, {weight.rows}, {weight.columns})."
            )
        return self._op("linear_heads", [x], weight.experts * weight.rows, x.value.rows, weight=weight)

    def join(self, a: Traced, b: Traced, heads: int) -> Traced:
        if a.value.width % heads or b.value.width % heads or a.value.rows != b.value.rows:
            raise TracingError(
                f"join: {a.value.width} and {b.value.width} columns of the rows of {a.value.rows} and {b.value.rows} "
                f"tokens cannot be joined in {heads} heads."
            )
        return self._op("join", [a, b], a.value.width + b.value.width, a.value.rows, heads=heads)

    def route_top_k_of_groups(
        self,
        scores: Traced,
        correction: Array,
        top_k: int,
        groups: int,
        top_k_groups: int,
        *,
        normalised: bool,
        factor: float,
    ) -> tuple[Traced, Traced]:
        experts = scores.value.width
        fits = experts % groups == 0 and 2 * groups <= experts <= _native.MOST_EXPERTS
        if not fits or not 0 < top_k_groups <= groups or not 0 < top_k <= top_k_groups * (experts // groups):
            raise TracingError(
                f"route_top_k_of_groups: {top_k} of {experts} experts in {top_k_groups} of {groups} groups cannot be "
                f"kept; expected two or more a group, and at most {_native.MOST_EXPERTS} in all."
            )
        picked = Traced(self, Value(scores.value.rows, top_k, integers=True))
        expert_weights = self._op(
            "route_top_k_of_groups",
            [scores],
            top_k,
            scores.value.rows,
            correction=correction,
            top_k=top_k,
            groups=groups,
            top_k_groups=top_k_groups,
            normalised=normalised,
            factor=factor,
        )
        self.ops[-1].writes.insert(0, picked.value)
        return picked, expert_weights

    def convolve(self, x: Traced, weight: Array, bias: Array, cache: LayerCache) -> Traced:
        memory: Any = self.memories[cache.layer]
        wanted = (memory.convolved, memory.convolution)
        if (weight.shape, bias.shape, x.value.width) != (wanted, wanted[:1], memory.convolved):
            raise TracingError(
                f"convolve: x has {x.value.width} columns, weight is {weight.shape} and bias {bias.shape}, expected "
                f"{memory.convolved} channels and {memory.convolution} taps, as cached."
            )
        if memory.convolution > _native.MOST_TAPS:
            raise TracingError(
                f"convolve: {memory.convolution} taps, expected at most {_native.MOST_TAPS}. "
                "Run this model with arithmetic.Ops."
            )
        taps_first = np.ascontiguousarray(weight.T, np.float32)
        return self._op("convolve", [x], x.value.width, "tokens", layer=cache.layer, weight=taps_first, bias=bias)

    def selective_scan(
        self, x: Traced, dt: Traced, A: Array, B: Traced, C: Traced, D: Array, cache: LayerCache
    ) -> Traced:
        memory: Any = self.memories[cache.layer]
        given = (x.value.width, dt.value.width, B.value.width, C.value.width, A.shape, D.shape)
        channels, states = memory.channels, memory.states
        if given != (channels, channels, states, states, (channels, states), (channels,)):
            raise TracingError(
                f"selective_scan: x, dt, B and C have {given[:4]} columns, A is {A.shape} and D {D.shape}, "
                f"expected {channels} channels with {states} states each, as cached."
            )
        states_first = np.ascontiguousarray(A.T, np.float32)
        return self._op("selective_scan", [x, dt, B, C], channels, "tokens", layer=cache.layer, A=states_first, D=D)

    def ssd_scan(
        self, xBC: Traced, dt: Traced, A: Array, D: Array, cache: LayerCache, *, limits: tuple[float, float]
    ) -> Traced:
        memory: Any = self.memories[cache.layer]
        channels, states, heads = memory.channels, memory.states, len(A)
        groups, rest = divmod(xBC.value.width - channels, 2 * states)
        given = (xBC.value.width, dt.value.width, A.shape, D.shape)
        if rest or groups < 1 or heads % groups or channels % heads or given[1:] != (heads, (heads,), (heads,)):
            raise TracingError(
                f"ssd_scan: xBC and dt have {given[:2]} columns, A is {A.shape} and D {D.shape}, expected {channels} "
                f"channels as cached, then B and C of {states} states for every group, and one dt, A and D a head."
            )
        return self._op(
            "ssd_scan",
            [xBC, dt],
            channels,
            "tokens",
            layer=cache.layer,
            A=A,
            D=D,
            states=states,
            each=channels // heads,
            groups=groups,
            low=limits[0],
            high=limits[1],
        )

    def swiglu(self, gate: Traced, up: Traced) -> Traced:
        return self._op("gated", [gate, up], gate.value.width, gate.value.rows, clamped=False, alpha=1.0, limit=0.0)

    def clamped_swiglu(self, gate: Traced, up: Traced, alpha: float, limit: float) -> Traced:
        return self._op("gated", [gate, up], gate.value.width, gate.value.rows, clamped=True, alpha=alpha, limit=limit)

    def add(self, a: Traced, b: Traced) -> Traced:
        """a + b. Raises TracingError for sides of different shapes."""
        if (a.value.width, a.value.rows) != (b.value.width, b.value.rows):
            raise TracingError(
                f"+: the sides have {a.value.width} and {b.value.width} columns and the rows of {a.value.rows} and "
                f"{b.value.rows} tokens, expected the same."
            )
        if a.value.integers or b.value.integers:
            raise TracingError(
                "+: a side has whole numbers (the chosen experts), expected float32. Choose experts with route_top_k."
            )
        return self._op("add", [a, b], a.value.width, a.value.rows, a.head_dim)

    def select(self, x: Traced, rows: WantedRows) -> Traced:
        return self._op("select", [x], x.value.width, "wanted", x.head_dim)

    def route_top_k(
        self, scores: Traced, top_k: int, chosen: Traced | None = None, *, normalised: bool = True
    ) -> tuple[Traced, Traced]:
        if chosen is not None:
            raise TracingError(
                "route_top_k: chosen experts are given, but a program routes afresh. Replay a choice with "
                "arithmetic.Ops."
            )
        if not 0 < top_k <= scores.value.width:
            raise TracingError(f"route_top_k: {top_k} of {scores.value.width} experts cannot be kept.")
        picked = Traced(self, Value(scores.value.rows, top_k, integers=True))
        expert_weights = self._op("route_top_k", [scores], top_k, scores.value.rows, top_k=top_k, normalised=normalised)
        self.ops[-1].writes.insert(0, picked.value)
        return picked, expert_weights

    def mix_experts(self, x: Traced, experts: Experts, chosen: Traced, expert_weights: Traced) -> Traced:
        inner, hidden = experts.gate.rows, experts.gate.columns
        sizes = [(each.experts, each.rows, each.columns) for each in (experts.gate, experts.up, experts.down)]
        count = experts.gate.experts
        if sizes != [(count, inner, hidden), (count, inner, hidden), (count, hidden, inner)] or x.value.width != hidden:
            raise TracingError(
                f"mix_experts: gate, up and down are (experts, out, in) = {sizes} and x has {x.value.width} columns; "
                "expected gate and up alike, down turned round, and x as wide as they are."
            )
        names = [self._carrier(each, count) for each in (experts.gate, experts.up, experts.down)]
        return self._op("mix_experts", [x, chosen, expert_weights], hidden, x.value.rows, experts=experts, names=names)

    # --- what graphs compute for a tap alone ---

    def attention_rows(
        self,
        q: Traced,
        cache: LayerCache,
        *,
        scale: float,
        window: int | None = None,
        sinks: Array | None = None,
        top: int,
    ) -> AttentionRows:
        memory: Any = self.memories[cache.layer]
        if not 0 < top <= _native.MOST_TOP:
            raise TracingError(f"attention_rows: the {top} heaviest positions, expected 1 to {_native.MOST_TOP}.")
        q_heads = q.value.width // (memory.width if hasattr(memory, "value_width") else memory.head_dim)
        widths = {"weights": 0, "sink": q_heads, "top": q_heads * top, "top_weights": q_heads * top}
        rows = [Value("tokens", width, integers=name == "top", apart=name) for name, width in widths.items()]
        given = {"layer": cache.layer, "q_heads": q_heads}
        self.ops.append(Op("attention_rows", [q.value], rows, given))
        traced: Any = [Traced(self, value) for value in rows]
        return AttentionRows(*traced)

    def each_expert(self, x: Traced, experts: Experts, chosen: Traced, expert_weights: Traced) -> Traced:
        reads = [x.value, chosen.value, expert_weights.value]
        return self._besides("mix_experts", reads, chosen.value.width * x.value.width)

    def selective_norms(
        self, x: Traced, dt: Traced, A: Array, B: Traced, C: Traced, D: Array, cache: LayerCache
    ) -> Traced:
        return self._besides("selective_scan", [x.value, dt.value, B.value, C.value], x.value.width)

    def ssd_norms(
        self, xBC: Traced, dt: Traced, A: Array, D: Array, cache: LayerCache, *, limits: tuple[float, float]
    ) -> Traced:
        return self._besides("ssd_scan", [xBC.value, dt.value], dt.value.width)

    def _carrier(self, weight: Any, experts: int | None = None) -> str:
        """The name of a weight that adapters may add to, else nothing."""
        name = self.carriers.get(id(weight), "")
        if name:
            self.adaptable[name] = WeightShape(weight.rows, weight.columns, experts)
        return name

    def _besides(self, kind: str, reads: list[Value], width: int) -> Traced:
        """A further value of the operation of this kind that has just read these."""
        for op in reversed(self.ops):
            if op.kind == kind and op.reads == reads:
                shown = Value(op.writes[0].rows, width)
                op.writes.append(shown)
                return Traced(self, shown)
        raise TracingError(f"{kind}: what is asked of it was not computed. Ask after the operation, for its arguments.")

    def _op(
        self, kind: str, reads: Sequence[Traced], width: int, rows: Rows, head_dim: int | None = None, **given: Any
    ) -> Traced:
        out = Value(rows, width)
        self.ops.append(Op(kind, [traced.value for traced in reads], [out], given))
        return Traced(self, out, head_dim)
