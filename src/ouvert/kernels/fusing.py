"""Operations of a trace become native instructions; neighbours that share work become one. tracer.py says why."""

from collections.abc import Callable, Sequence
from typing import Any

import ouvert.kernels._native as _native
from ouvert.kernels.arena import Step
from ouvert.kernels.expert_cache import StoredExperts
from ouvert.kernels.linear import Packed
from ouvert.kernels.looking import OfAttention, RowsOfLayer
from ouvert.kernels.trace import KeyValueMemory, Memory, Op, Value

NOWHERE = _native.Value(_native.Rows.tokens, 0, 0)


def values_of_all(ops: Sequence[Op]) -> set[Value]:
    """Values that are looked at for every token, those in the expanded form included, and what they are made of."""
    whole = {value for op in ops for value in op.writes if value.watched}
    for op in reversed(ops):
        if op.kind == "attention_rows" or (op.kind in ("join", "linear_heads") and whole.intersection(op.writes)):
            whole.update(op.reads)
    return whole


def either(at: Callable[[Value], Any], values: Sequence[Value]) -> Any:
    """Where the only one of these values lies; if there is none, a place without width."""
    return at(values[0]) if values else NOWHERE


class Fusing:
    """Operations become steps; neighbours that share work become one.

    There is a method for each kind of operation, of its name: `n` is where `op` stands in the trace.
    """

    def __init__(
        self, ops: Sequence[Op], logits: Value, native: Any, *, exact: bool, memories: Sequence[Memory]
    ) -> None:
        self.ops, self.logits, self.native, self.exact, self.memories = ops, logits, native, exact, memories
        self.maker = {value: n for n, op in enumerate(ops) for value in op.writes}
        self.readers: dict[Value, list[int]] = {}
        for n, op in enumerate(ops):
            for value in op.reads if op.kind != "attention_rows" else []:  # it looks at what is there either way
                self.readers.setdefault(value, []).append(n)
        self.whole = values_of_all(ops)
        self.row_buffers: Any = None
        self.attends: dict[int, Any] = {}  # the native attention of each layer
        self.shown: dict[Value, OfAttention] = {}
        self.done: set[int] = set()
        self.codes: dict[tuple[Value, int], Value] = {}
        self.angles: dict[int, Value] = {}
        self.plans: dict[tuple[int, ...], Any] = {}
        self.matrices: dict[int, Any] = {}
        self.expert_buffers: Any = None
        self.expanded_buffers: Any = None
        self.holds: list[Any] = []
        self.result: list[Step] = []

    def steps(self) -> tuple[list[Step], list[Any]]:
        """The steps, and what must live as long as the program."""
        for n, op in enumerate(self.ops):
            if n not in self.done:
                self.done.add(n)
                getattr(self, op.kind)(n, op)
        return self.result, self.holds

    # --- what is known of values ---

    def hidden(self, value: Value, by: int) -> bool:
        """Whether nobody but op `by` looks at this value."""
        return self.readers.get(value, []) == [by] and not value.watched and value is not self.logits

    def only_reader(self, value: Value) -> int | None:
        """The one operation that reads this value, if there is one and nobody watches the value."""
        readers = self.readers.get(value, [])
        return readers[0] if len(readers) == 1 and not value.watched else None

    def takes_codes(self, n: int) -> int:
        """Bytes of each whole number that product n takes for an activation; 0: it takes floats."""
        op = self.ops[n]
        if self.exact or not _native.takes_int8(op.given["weight"].layout):
            return 0
        return 2 if op.writes[0] is self.logits else 1

    def wants_codes(self, value: Value) -> bool:
        """Whether some product takes this value as int8 activations."""
        return any(self.ops[n].kind == "linear" and self.takes_codes(n) == 1 for n in self.readers.get(value, []))

    # --- steps ---

    def step(
        self,
        reads: list[Value],
        writes: list[Value],
        emit: Callable[[Callable[[Value], Any]], None],
        in_place: dict[Value, Value] | None = None,
    ) -> None:
        self.result.append(Step(reads, writes, emit, in_place or {}))

    def matrix(self, weight: Packed) -> Any:
        if id(weight) not in self.matrices:
            self.matrices[id(weight)] = _native.Matrix(
                weight.layout, weight.rows, weight.columns, weight.data, weight.experts
            )
            self.holds.append(weight)
        return self.matrices[id(weight)]

    def codes_of(self, value: Value, size: int) -> Value:
        """This value as whole numbers of so many bytes, made now if it has not been made."""
        if (value, size) not in self.codes:
            codes = self.codes[value, size] = Value(value.rows, value.width, code_bytes=size)
            self.step([value], [codes], lambda at: self.native.quantise(at(value), size, at(codes)))
        return self.codes[value, size]

    def embed(self, n: int, op: Op) -> None:
        (out,), table = op.writes, self.matrix(op.given["table"])
        self.step([], [out], lambda at: self.native.embed(table, at(out)))

    def rms_norm(self, n: int, op: Op) -> None:
        (x,), (out,) = op.reads, op.writes
        writes = [out]
        if self.wants_codes(out):
            codes = self.codes[out, 1] = Value(out.rows, out.width, code_bytes=1)
            writes.append(codes)
        weight, eps, width = op.given["weight"], op.given["eps"], op.given["each"]
        self.step(
            [x],
            writes,
            lambda at: self.native.norm(at(x), weight, width, eps, at(out), either(at, writes[1:])),
        )

    def add(self, n: int, op: Op) -> None:
        (a, b), (out,) = op.reads, op.writes
        self.step([a, b], [out], lambda at: self.native.add(at(a), at(b), at(out)))

    def edit(self, n: int, op: Op) -> None:
        (x, *chosen), (out,), name = op.reads, op.writes, op.given["name"]
        in_place = {out: x} if self.hidden(x, n) and out is not self.logits else {}
        self.step(
            [x, *chosen],
            [out],
            lambda at: self.native.edit(name, at(x), either(at, chosen), at(out)),
            in_place,
        )

    def select(self, n: int, op: Op) -> None:
        (x,), (out,) = op.reads, op.writes
        self.step([x], [out], lambda at: self.native.select(at(x), at(out)))

    def gated(self, n: int, op: Op) -> None:
        (gate, up), (out,), given = op.reads, op.writes, op.given
        self.step(
            [gate, up],
            [out],
            lambda at: self.native.gated(at(gate), at(up), given["clamped"], given["alpha"], given["limit"], at(out)),
        )

    def route_top_k(self, n: int, op: Op) -> None:
        (scores,), (chosen, expert_weights), given = op.reads, op.writes, op.given
        self.step(
            [scores],
            [chosen, expert_weights],
            lambda at: self.native.route_top_k(
                at(scores), given["top_k"], given["normalised"], at(chosen), at(expert_weights)
            ),
        )

    def linear(self, n: int, op: Op) -> None:
        """This product and every later one of the same input, side by side."""
        (x,) = op.reads
        codes = self.takes_codes(n)
        together = [n] + [
            m
            for m in self.readers[x]
            if m not in self.done and self.ops[m].kind == "linear" and self.takes_codes(m) == codes
        ]
        self.done.update(together)
        source = self.codes_of(x, codes) if codes else x
        while together:
            pair = self.gated_pair(together)
            if pair is None:
                self.products(n, source, codes, together)
                return
            self.gated_products(source, codes, pair)
            together = [m for m in together if m not in pair]

    def gated_pair(self, together: Sequence[int]) -> tuple[int, int] | None:
        """Two of these products that nobody sees but the gate that makes them one."""
        for m in together:
            (out,) = self.ops[m].writes
            reader = self.only_reader(out)
            if reader is None or self.ops[reader].kind != "gated":
                continue
            gate, up = self.ops[reader].reads
            makers = (self.maker[gate], self.maker[up])
            unseen = self.hidden(gate, reader) and self.hidden(up, reader)
            if gate is not up and unseen and all(maker in together for maker in makers):
                return makers
        return None

    def gated_products(self, source: Value, codes: int, pair: tuple[int, int]) -> None:
        ops = [self.ops[m] for m in pair]
        gate, up = (op.writes[0] for op in ops)
        floats = self.floats_of(pair)
        reader = self.readers[gate][0]
        (out,), how = self.ops[reader].writes, self.ops[reader].given
        self.done.add(reader)
        matrices = [self.matrix(op.given["weight"]) for op in ops]
        biases, names = [op.given["bias"] for op in ops], [op.given["name"] for op in ops]
        self.step(
            [source, *floats],
            [out, up],
            lambda at: self.native.linear(
                at(source),
                either(at, floats),
                codes,
                [
                    (matrices[0], biases[0], at(out), False, names[0], NOWHERE),
                    (matrices[1], biases[1], at(up), False, names[1], NOWHERE),
                ],
                True,
                how["clamped"],
                how["alpha"],
                how["limit"],
            ),
        )

    def products(self, n: int, source: Value, codes: int, together: Sequence[int]) -> None:
        outs: list[tuple[Any, Any, Value, bool, str, list[Value]]] = []
        floats = self.floats_of(together)
        reads, in_place = [source, *floats], {}
        for m in together:
            op = self.ops[m]
            (out,), accumulate, name = op.writes, False, op.given["name"]
            sums = []
            residual = self.residual(n, out)
            if residual is not None:
                reader = self.readers[out][0]
                self.done.add(reader)
                out, accumulate = self.ops[reader].writes[0], True
                in_place[out] = residual
                reads.append(residual)
                sums = [Value(out.rows, out.width)] if name else []
            outs.append((self.matrix(op.given["weight"]), op.given["bias"], out, accumulate, name, sums))
        self.step(
            reads,
            [value for _, _, out, _, _, sums in outs for value in (out, *sums)],
            lambda at: self.native.linear(
                at(source),
                either(at, floats),
                codes,
                [(*rest, at(out), add, name, either(at, sums)) for *rest, out, add, name, sums in outs],
                False,
                False,
                1.0,
                0.0,
            ),
            in_place,
        )

    def floats_of(self, together: Sequence[int]) -> list[Value]:
        """The input of these products, if adapters may add to one of them."""
        return self.ops[together[0]].reads if any(self.ops[m].given["name"] for m in together) else []

    def residual(self, n: int, out: Value) -> Value | None:
        """What a product is only added to, if the sum may take its place: ready before op n, not looked at after."""
        reader = self.only_reader(out)
        if reader is None or self.ops[reader].kind != "add" or out is self.logits:
            return None
        op = self.ops[reader]
        other = op.reads[1] if op.reads[0] is out else op.reads[0]
        if other is out or other.watched or op.writes[0] is self.logits or self.maker[other] > n:
            return None
        return other if all(m < n or m == reader for m in self.readers[other]) else None

    def angles_of(self, op: Op) -> Value:
        rope = op.given["rope"]
        if id(rope) not in self.angles:
            angles = self.angles[id(rope)] = Value("tokens", 2 * len(rope.inverse_frequencies))
            frequencies, magnitude = rope.inverse_frequencies, float(rope.magnitude)
            self.holds.append(rope)
            self.step([], [angles], lambda at: self.native.angles(frequencies, magnitude, at(angles)))
        return self.angles[id(rope)]

    def rotate(self, n: int, op: Op) -> None:
        if self.turned_on_the_way(n) is not None:
            return  # attend does it
        (x,), (out,), head_dim = op.reads, op.writes, op.given["each"]
        angles = self.angles_of(op)
        self.step([x, angles], [out], lambda at: self.native.rotate(at(x), at(angles), head_dim, at(out)))

    def turned_on_the_way(self, n: int) -> tuple[int, int, int] | None:
        """(attend, rotation of q, rotation of k) if op n is one of two rotations that go into the cache together."""
        reader = self.only_reader(self.ops[n].writes[0])
        if reader is None or self.ops[reader].kind != "attend":
            return None
        attend = self.ops[reader]
        q, k = (self.maker[value] for value in attend.reads[:2])
        head_dim = self.memory_of(attend).head_dim
        for m in (q, k):
            op = self.ops[m]
            if op.kind != "rotate" or not self.hidden(op.writes[0], reader) or op.given["each"] != head_dim:
                return None
        if q == k or self.ops[q].given["rope"] is not self.ops[k].given["rope"]:
            return None
        before = self.ops[q].reads[0]
        return (reader, q, k) if self.hidden(before, q) else None

    def attend(self, n: int, op: Op) -> None:
        (q, k, v), (out,), given = op.reads, op.writes, op.given
        layer, native = given["layer"], self.native
        fused = self.turned_on_the_way(self.maker[q])
        if fused is not None:
            _, turn_q, turn_k = fused
            before, angles = self.ops[turn_q].reads[0], self.angles_of(self.ops[turn_q])
            k = self.ops[turn_k].reads[0]
            self.step(
                [k, v, before, angles],
                [q],
                lambda at: native.rotate_append(layer, at(k), at(v), at(q), at(angles)),
                {q: before},
            )
        else:
            self.step([k, v], [], lambda at: native.append(layer, at(k), at(v)))
        memory = self.memory_of(op)
        group = q.width // (memory.kv_heads * memory.head_dim)
        window = _native.NO_WINDOW if memory.window is None else memory.window
        plan = self.plan(group, memory.kv_heads, memory.head_dim, window, memory.head_dim)
        sinks, scale = given["sinks"], given["scale"]
        self.attend_native(layer, [q], out, lambda at: native.attend(plan, layer, at(q), sinks, scale, at(out)))

    def attend_native(self, layer: int, reads: list[Value], out: Value, emit: Callable[..., Any]) -> None:
        """The step that attends; whoever looks at its weights finds it by its layer."""
        self.step(reads, [out], lambda at: self.attends.update({layer: emit(at)}))

    def attention_rows(self, n: int, op: Op) -> None:
        """Where heads look: the attention keeps its weights, and an instruction after it makes shares of them."""
        buffers = self.row_buffers = self.row_buffers or _native.RowBuffers()
        (q,), layer, q_heads = op.reads, op.given["layer"], op.given["q_heads"]

        def emit(at: Callable[[Value], Any]) -> None:
            made = RowsOfLayer(self.native.attention_rows(buffers, self.attends[layer]), q_heads)
            self.shown.update({value: OfAttention(made, value) for value in op.writes if value.watched})

        self.step([q], [], emit)

    def memory_of(self, attend: Op) -> KeyValueMemory:
        memory: KeyValueMemory = self.memories[attend.given["layer"]]
        return memory

    def plan(self, *shape: int) -> Any:
        if shape not in self.plans:
            self.plans[shape] = _native.AttentionPlan(*shape)
        return self.plans[shape]

    def attend_latent(self, n: int, op: Op) -> None:
        (q, latents), (out,), given = op.reads, op.writes, op.given
        layer, native, scale = given["layer"], self.native, given["scale"]
        memory: Any = self.memories[layer]
        plan = self.plan(q.width // memory.width, 1, memory.width, _native.NO_WINDOW, memory.value_width)
        self.step([latents], [], lambda at: native.append_latent(layer, at(latents)))
        self.attend_native(layer, [q], out, lambda at: native.attend(plan, layer, at(q), None, scale, at(out)))

    def attend_expanded(self, n: int, op: Op) -> None:
        (mixed, q_nope, q_rope), (out,), given = op.reads, op.writes, op.given
        self.expanded_buffers = self.expanded_buffers or _native.ExpandedBuffers()
        buffers, native, layer, scale = self.expanded_buffers, self.native, given["layer"], given["scale"]
        key, value = self.matrix(given["key"]), self.matrix(given["value"])
        self.step(
            [mixed, q_nope, q_rope],
            [out],
            lambda at: native.attend_expanded(buffers, layer, at(q_nope), at(q_rope), key, value, scale, at(out)),
            {out: mixed},
        )

    def linear_heads(self, n: int, op: Op) -> None:
        (x,), (out,), weights = op.reads, op.writes, self.matrix(op.given["weight"])
        of_all = out in self.whole
        self.step([x], [out], lambda at: self.native.linear_heads(at(x), weights, of_all, at(out)))

    def join(self, n: int, op: Op) -> None:
        (a, b), (out,), heads = op.reads, op.writes, op.given["heads"]
        of_all = out in self.whole
        self.step([a, b], [out], lambda at: self.native.join_columns(at(a), at(b), heads, of_all, at(out)))

    def route_top_k_of_groups(self, n: int, op: Op) -> None:
        (scores,), (chosen, expert_weights), given = op.reads, op.writes, op.given
        names = ("correction", "top_k", "groups", "top_k_groups", "normalised", "factor")
        how = [given[name] for name in names]
        self.step(
            [scores],
            [chosen, expert_weights],
            lambda at: self.native.route_top_k_of_groups(at(scores), *how, at(chosen), at(expert_weights)),
        )

    def convolve(self, n: int, op: Op) -> None:
        (x,), (out,), given = op.reads, op.writes, op.given
        self.step(
            [x], [out], lambda at: self.native.convolve(given["layer"], at(x), given["weight"], given["bias"], at(out))
        )

    def selective_scan(self, n: int, op: Op) -> None:
        (x, dt, B, C), (out, *norms), given = op.reads, op.writes, op.given
        layer, A, D = given["layer"], given["A"], given["D"]
        self.step(
            [x, dt, B, C],
            [out, *norms],
            lambda at: self.native.selective_scan(layer, at(x), at(dt), A, at(B), at(C), D, at(out), either(at, norms)),
        )

    def ssd_scan(self, n: int, op: Op) -> None:
        (xBC, dt), (out, *norms), given = op.reads, op.writes, op.given
        how = [given[name] for name in ("A", "D", "states", "each", "groups", "low", "high")]
        self.step(
            [xBC, dt],
            [out, *norms],
            lambda at: self.native.ssd_scan(given["layer"], at(xBC), at(dt), *how, at(out), either(at, norms)),
        )

    def mix_experts(self, n: int, op: Op) -> None:
        (x, chosen, weights), (out, *each), experts = op.reads, op.writes, op.given["experts"]
        self.expert_buffers = self.expert_buffers or _native.ExpertBuffers()
        buffers, native, exact = self.expert_buffers, self.native, self.exact
        if isinstance(experts.gate, StoredExperts):
            self.mix_experts_of_file(op)
            return
        names = op.given["names"]
        products = [
            (self.matrix(experts.gate), experts.gate_bias, names[0]),
            (self.matrix(experts.up), experts.up_bias, names[1]),
            (self.matrix(experts.down), experts.down_bias, names[2]),
        ]
        clamped = experts.limit is not None
        self.step(
            [x, chosen, weights],
            [out, *each],
            lambda at: native.mix_experts(
                buffers, at(x), at(chosen), at(weights), at(out), either(at, each), experts.gate.experts, chosen.width,
                products, clamped, experts.alpha, experts.limit or 0.0, exact,
            ),
        )  # fmt: skip

    def mix_experts_of_file(self, op: Op) -> None:
        (x, chosen, weights), (out, *each), experts = op.reads, op.writes, op.given["experts"]
        buffers, native, exact, cache = self.expert_buffers, self.native, self.exact, experts.gate.cache
        self.holds.append(cache)
        products = [
            (one.layout, one.rows, one.columns, one.offset, bias, name)
            for one, bias, name in (
                (experts.gate, experts.gate_bias, op.given["names"][0]),
                (experts.up, experts.up_bias, op.given["names"][1]),
                (experts.down, experts.down_bias, op.given["names"][2]),
            )
        ]
        clamped = experts.limit is not None
        self.step(
            [x, chosen, weights],
            [out, *each],
            lambda at: native.mix_experts_of_file(
                buffers, cache.native, at(x), at(chosen), at(weights), at(out), either(at, each),
                experts.gate.experts, chosen.width, products, clamped, experts.alpha, experts.limit or 0.0, exact,
            ),
        )  # fmt: skip
