"""From what a graph noted down to the instructions of a native program. recorder.py says what happens and why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ouvert.kernels._native as _native
from ouvert.kernels.linear import Packed
from ouvert.kernels.tracer import KeyValueMemory, Line, Memory, Rows, Value

# What computes each row from the same row of what it reads.
ROWWISE = frozenset(
    {
        "linear",
        "rms_norm",
        "gated",
        "add",
        "route_top_k",
        "mix_experts",
        "rotate",
        "linear_heads",
        "join",
        "route_top_k_of_groups",
    }
)
# What fills caches.
REMEMBERING = frozenset({"attend", "attend_latent", "convolve", "scan"})


@dataclass(eq=False)
class Step:
    """A native instruction to be: what it reads and writes, and how it is added once everything has its place.

    `in_place` maps a value it writes to one it reads that lies in the same place.
    """

    reads: list[Value]
    writes: list[Value]
    emit: Callable[[Callable[[Value], Any]], None]
    in_place: dict[Value, Value] = field(default_factory=dict)


def lower(
    lines: Sequence[Line], logits: Value, native: Any, *, exact: bool, memories: Sequence[Memory]
) -> tuple[dict[str, Any], list[Any]]:
    """Fill `native`.

    Returns watched values by name (native place, whether they are whole numbers), and what must live as long as the
    program.
    """
    watched = [value for line in lines for value in line.writes if value.watched]
    lines = needed_rows(needed_lines(lines, [logits, *watched]), logits)
    steps, holds = Fusing(lines, logits, native, exact=exact, memories=memories).steps()
    watched = [value for line in lines for value in line.writes if value.watched]
    places = Places(steps, logits, watched)
    native.arena(places.bytes_per_token)
    for step in steps:
        step.emit(places.native)
    return {name: (places.native(value), value.integers) for value in watched for name in value.watched}, holds


def needed_lines(lines: Iterable[Line], results: Iterable[Value]) -> list[Line]:
    """The lines that the results depend on, in their order, and whatever fills caches."""
    wanted, kept = set(results), []
    for line in reversed(list(lines)):
        if line.kind in REMEMBERING or wanted.intersection(line.writes):
            wanted.update(line.reads)
            kept.append(line)
    return kept[::-1]


def needed_rows(lines: Sequence[Line], logits: Value) -> list[Line]:
    """The same with `select` moved up as far as it goes: a row that nobody looks at is not computed."""
    demands: dict[Value, set[Rows]] = {logits: {"wanted"}}
    for line in reversed(lines):
        asked = {rows for value in line.writes for rows in demands.get(value, set())}
        if any(value.watched for value in line.writes):
            asked.add(line.writes[0].rows)
        if line.kind == "select":
            below: set[Rows] = {"wanted"}
        elif line.kind in ROWWISE:
            below = {"wanted"} if asked == {"wanted"} else {"tokens"}
        else:
            below = {"tokens"}
        for value in line.reads:
            demands.setdefault(value, set()).update(below)

    moved: list[Line] = []
    now: dict[tuple[Value, Rows], Value] = {}

    def have(value: Value, rows: Rows) -> Value:
        if (value, rows) not in now:
            picked = Value("wanted", value.width)
            moved.append(Line("select", [now[value, "tokens"]], [picked]))
            now[value, rows] = picked
        return now[value, rows]

    for line in lines:
        if line.kind == "select":
            now[line.writes[0], "wanted"] = have(line.reads[0], "wanted")
            if line.writes[0].watched:
                now[line.writes[0], "wanted"].watched += line.writes[0].watched
            continue
        asked = {rows for value in line.writes for rows in demands.get(value, set())}
        if any(value.watched for value in line.writes):
            asked.add(line.writes[0].rows)
        rows: Rows = "wanted" if line.kind in ROWWISE and asked == {"wanted"} else "tokens"
        for value in line.writes:
            value.rows = rows
            now[value, rows] = value
        moved.append(Line(line.kind, [have(value, rows) for value in line.reads], line.writes, line.given))
        for value in line.writes:
            if "wanted" in demands.get(value, set()):
                have(value, "wanted")  # at once, so that it stands before whoever could be fused with its reader
    return moved


class Fusing:
    """Lines become steps; neighbours that share work become one."""

    def __init__(
        self, lines: Sequence[Line], logits: Value, native: Any, *, exact: bool, memories: Sequence[Memory]
    ) -> None:
        self.lines, self.logits, self.native, self.exact, self.memories = lines, logits, native, exact, memories
        self.maker = {value: n for n, line in enumerate(lines) for value in line.writes}
        self.readers: dict[Value, list[int]] = {}
        for n, line in enumerate(lines):
            for value in line.reads:
                self.readers.setdefault(value, []).append(n)
        self.done: set[int] = set()
        self.codes: dict[tuple[Value, int], Value] = {}
        self.angles: dict[int, Value] = {}
        self.plans: dict[tuple[int, ...], Any] = {}
        self.matrices: dict[int, Any] = {}
        self.expert_buffers: Any = None
        self.holds: list[Any] = []
        self.result: list[Step] = []

    def steps(self) -> tuple[list[Step], list[Any]]:
        for n, line in enumerate(self.lines):
            if n not in self.done:
                self.done.add(n)
                getattr(self, line.kind)(n, line)
        return self.result, self.holds

    # --- what is known of values ---

    def hidden(self, value: Value, by: int) -> bool:
        """Whether nobody but line `by` looks at this value."""
        return self.readers.get(value, []) == [by] and not value.watched and value is not self.logits

    def only_reader(self, value: Value) -> int | None:
        readers = self.readers.get(value, [])
        return readers[0] if len(readers) == 1 and not value.watched else None

    def takes_codes(self, n: int) -> int:
        """Bytes of each whole number that product n takes for an activation; 0: it takes floats."""
        line = self.lines[n]
        if self.exact or not _native.takes_int8(line.given["weight"].layout):
            return 0
        return 2 if line.writes[0] is self.logits else 1

    def wants_codes(self, value: Value) -> bool:
        """Whether some product takes this value as int8 activations."""
        return any(self.lines[n].kind == "linear" and self.takes_codes(n) == 1 for n in self.readers.get(value, []))

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

    def embed(self, n: int, line: Line) -> None:
        (out,), table = line.writes, self.matrix(line.given["table"])
        self.step([], [out], lambda at: self.native.embed(table, at(out)))

    def rms_norm(self, n: int, line: Line) -> None:
        (x,), (out,) = line.reads, line.writes
        writes, codes = [out], Value(out.rows, 0)
        if self.wants_codes(out):
            codes = self.codes[out, 1] = Value(out.rows, out.width, code_bytes=1)
            writes.append(codes)
        weight, eps = line.given["weight"], line.given["eps"]
        nothing = _native.Value(_native.Rows.tokens, 0, 0)
        self.step(
            [x],
            writes,
            lambda at: self.native.norm(at(x), weight, eps, at(out), at(codes) if codes.width else nothing),
        )

    def add(self, n: int, line: Line) -> None:
        (a, b), (out,) = line.reads, line.writes
        self.step([a, b], [out], lambda at: self.native.add(at(a), at(b), at(out)))

    def select(self, n: int, line: Line) -> None:
        (x,), (out,) = line.reads, line.writes
        self.step([x], [out], lambda at: self.native.select(at(x), at(out)))

    def gated(self, n: int, line: Line) -> None:
        (gate, up), (out,), given = line.reads, line.writes, line.given
        self.step(
            [gate, up],
            [out],
            lambda at: self.native.gated(at(gate), at(up), given["clamped"], given["alpha"], given["limit"], at(out)),
        )

    def route_top_k(self, n: int, line: Line) -> None:
        (scores,), (chosen, share), kept = line.reads, line.writes, line.given["kept"]
        self.step(
            [scores], [chosen, share], lambda at: self.native.route_top_k(at(scores), kept, at(chosen), at(share))
        )

    def linear(self, n: int, line: Line) -> None:
        """This product and every later one of the same input, side by side."""
        (x,) = line.reads
        codes = self.takes_codes(n)
        together = [n] + [
            m
            for m in self.readers[x]
            if m not in self.done and self.lines[m].kind == "linear" and self.takes_codes(m) == codes
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
            (out,) = self.lines[m].writes
            reader = self.only_reader(out)
            if reader is None or self.lines[reader].kind != "gated":
                continue
            gate, up = self.lines[reader].reads
            makers = (self.maker[gate], self.maker[up])
            unseen = self.hidden(gate, reader) and self.hidden(up, reader)
            if gate is not up and unseen and all(maker in together for maker in makers):
                return makers
        return None

    def gated_products(self, source: Value, codes: int, pair: tuple[int, int]) -> None:
        lines = [self.lines[m] for m in pair]
        gate, up = (line.writes[0] for line in lines)
        reader = self.readers[gate][0]
        (out,), how = self.lines[reader].writes, self.lines[reader].given
        self.done.add(reader)
        matrices = [self.matrix(line.given["weight"]) for line in lines]
        biases = [line.given["bias"] for line in lines]
        self.step(
            [source],
            [out, up],
            lambda at: self.native.linear(
                at(source),
                codes,
                [(matrices[0], biases[0], at(out), False), (matrices[1], biases[1], at(up), False)],
                True,
                how["clamped"],
                how["alpha"],
                how["limit"],
            ),
        )

    def products(self, n: int, source: Value, codes: int, together: Sequence[int]) -> None:
        outs: list[tuple[Any, Any, Value, bool]] = []
        reads, in_place = [source], {}
        for m in together:
            line = self.lines[m]
            (out,), accumulate = line.writes, False
            residual = self.residual(n, out)
            if residual is not None:
                reader = self.readers[out][0]
                self.done.add(reader)
                out, accumulate = self.lines[reader].writes[0], True
                in_place[out] = residual
                reads.append(residual)
            outs.append((self.matrix(line.given["weight"]), line.given["bias"], out, accumulate))
        self.step(
            reads,
            [out for _, _, out, _ in outs],
            lambda at: self.native.linear(
                at(source), codes, [(*rest, at(out), add) for *rest, out, add in outs], False, False, 1.0, 0.0
            ),
            in_place,
        )

    def residual(self, n: int, out: Value) -> Value | None:
        """What a product is only added to, if the sum may take its place: ready before line n, not looked at after."""
        reader = self.only_reader(out)
        if reader is None or self.lines[reader].kind != "add" or out is self.logits:
            return None
        line = self.lines[reader]
        other = line.reads[1] if line.reads[0] is out else line.reads[0]
        if other is out or other.watched or line.writes[0] is self.logits or self.maker[other] > n:
            return None
        return other if all(m < n or m == reader for m in self.readers[other]) else None

    def angles_of(self, line: Line) -> Value:
        rope = line.given["rope"]
        if id(rope) not in self.angles:
            angles = self.angles[id(rope)] = Value("tokens", 2 * len(rope.inverse_frequencies))
            frequencies, magnitude = rope.inverse_frequencies, float(rope.magnitude)
            self.holds.append(rope)
            self.step([], [angles], lambda at: self.native.angles(frequencies, magnitude, at(angles)))
        return self.angles[id(rope)]

    def rotate(self, n: int, line: Line) -> None:
        if self.turned_on_the_way(n) is not None:
            return  # attend does it
        (x,), (out,), head_dim = line.reads, line.writes, line.given["each"]
        angles = self.angles_of(line)
        self.step([x, angles], [out], lambda at: self.native.rotate(at(x), at(angles), head_dim, at(out)))

    def turned_on_the_way(self, n: int) -> tuple[int, int, int] | None:
        """(attend, rotation of q, rotation of k) if line n is one of two rotations that go into the cache together."""
        reader = self.only_reader(self.lines[n].writes[0])
        if reader is None or self.lines[reader].kind != "attend":
            return None
        attend = self.lines[reader]
        q, k = (self.maker[value] for value in attend.reads[:2])
        head_dim = self.remembered(attend).head_dim
        for m in (q, k):
            line = self.lines[m]
            if line.kind != "rotate" or not self.hidden(line.writes[0], reader) or line.given["each"] != head_dim:
                return None
        if q == k or self.lines[q].given["rope"] is not self.lines[k].given["rope"]:
            return None
        before = self.lines[q].reads[0]
        return (reader, q, k) if self.hidden(before, q) else None

    def attend(self, n: int, line: Line) -> None:
        (q, k, v), (out,), given = line.reads, line.writes, line.given
        layer, native = given["layer"], self.native
        fused = self.turned_on_the_way(self.maker[q])
        if fused is not None:
            _, turn_q, turn_k = fused
            before, angles = self.lines[turn_q].reads[0], self.angles_of(self.lines[turn_q])
            k = self.lines[turn_k].reads[0]
            self.step(
                [k, v, before, angles],
                [q],
                lambda at: native.rotate_append(layer, at(k), at(v), at(q), at(angles)),
                {q: before},
            )
        else:
            self.step([k, v], [], lambda at: native.append(layer, at(k), at(v)))
        memory = self.remembered(line)
        group = q.width // (memory.kv_heads * memory.head_dim)
        window = _native.NO_WINDOW if memory.window is None else memory.window
        plan = self.plan(group, memory.kv_heads, memory.head_dim, window, memory.head_dim)
        sinks, scale = given["sinks"], given["scale"]
        self.step([q], [out], lambda at: native.attend(plan, layer, at(q), sinks, scale, at(out)))

    def remembered(self, attend: Line) -> KeyValueMemory:
        memory: KeyValueMemory = self.memories[attend.given["layer"]]
        return memory

    def plan(self, *shape: int) -> Any:
        if shape not in self.plans:
            self.plans[shape] = _native.AttentionPlan(*shape)
        return self.plans[shape]

    def attend_latent(self, n: int, line: Line) -> None:
        (q, latents), (out,), given = line.reads, line.writes, line.given
        layer, native, scale = given["layer"], self.native, given["scale"]
        memory: Any = self.memories[layer]
        plan = self.plan(q.width // memory.width, 1, memory.width, _native.NO_WINDOW, memory.value_width)
        self.step([latents], [], lambda at: native.append_latent(layer, at(latents)))
        self.step([q], [out], lambda at: native.attend(plan, layer, at(q), None, scale, at(out)))

    def linear_heads(self, n: int, line: Line) -> None:
        (x,), (out,), weights = line.reads, line.writes, self.matrix(line.given["weight"])
        self.step([x], [out], lambda at: self.native.linear_heads(at(x), weights, at(out)))

    def join(self, n: int, line: Line) -> None:
        (a, b), (out,), heads = line.reads, line.writes, line.given["heads"]
        self.step([a, b], [out], lambda at: self.native.join_columns(at(a), at(b), heads, at(out)))

    def route_top_k_of_groups(self, n: int, line: Line) -> None:
        (scores,), (chosen, share), given = line.reads, line.writes, line.given
        names = ("correction", "kept", "groups", "groups_kept", "normalised", "factor")
        how = [given[name] for name in names]
        self.step(
            [scores],
            [chosen, share],
            lambda at: self.native.route_top_k_of_groups(at(scores), *how, at(chosen), at(share)),
        )

    def convolve(self, n: int, line: Line) -> None:
        (x,), (out,), given = line.reads, line.writes, line.given
        self.step(
            [x], [out], lambda at: self.native.convolve(given["layer"], at(x), given["weight"], given["bias"], at(out))
        )

    def scan(self, n: int, line: Line) -> None:
        (x, step, b, c), (out,), given = line.reads, line.writes, line.given
        self.step(
            [x, step, b, c],
            [out],
            lambda at: self.native.selective_scan(
                given["layer"], at(x), at(step), given["decay"], at(b), at(c), given["skip"], at(out)
            ),
        )

    def mix_experts(self, n: int, line: Line) -> None:
        (x, chosen, share), (out,), experts = line.reads, line.writes, line.given["experts"]
        self.expert_buffers = self.expert_buffers or _native.ExpertBuffers()
        buffers, native, exact = self.expert_buffers, self.native, self.exact
        products = [
            (self.matrix(experts.gate), experts.gate_bias),
            (self.matrix(experts.up), experts.up_bias),
            (self.matrix(experts.down), experts.down_bias),
        ]
        clamped = experts.limit is not None
        self.step(
            [x, chosen, share],
            [out],
            lambda at: native.mix_experts(
                buffers, at(x), at(chosen), at(share), at(out), experts.gate.experts, chosen.width, products, clamped,
                experts.alpha, experts.limit or 0.0, exact,
            ),
        )  # fmt: skip


class Places:
    """Where each value lies in the arena: those that are not needed at the same time may share a place."""

    def __init__(self, steps: Sequence[Step], logits: Value, watched: Iterable[Value]) -> None:
        self.logits = logits
        self.home: dict[Value, Value] = {}  # values that lie in the same place have the same home
        last: dict[Value, int] = {}
        for n, step in enumerate(steps):
            for value in step.writes:
                self.home[value] = self.home[step.in_place[value]] if value in step.in_place else value
            for value in (*step.reads, *step.writes):
                last[self.home[value]] = n
        for value in watched:
            last[self.home[value]] = len(steps)
        self.offset: dict[Value, int] = {}
        taken: list[tuple[int, int, int]] = []  # (offset, bytes, last step), by offset
        self.bytes_per_token = 0
        for n, step in enumerate(steps):
            taken = [each for each in taken if each[2] >= n]
            for value in step.writes:
                if self.home[value] is not value or value is logits:
                    continue
                size = bytes_per_token(value)
                at = 0
                for offset, length, _ in taken:
                    if offset - at >= size:
                        break
                    at = max(at, offset + length)
                taken = sorted([*taken, (at, size, last[value])])
                self.offset[value] = at
                self.bytes_per_token = max(self.bytes_per_token, at + size)
        self.made: dict[Value, Any] = {}

    def native(self, value: Value) -> Any:
        if value not in self.made:
            rows = _native.Rows.tokens if value.rows == "tokens" else _native.Rows.wanted
            offset = -1 if value is self.logits else self.offset[self.home[value]]
            self.made[value] = _native.Value(rows, value.width, offset)
        return self.made[value]


def bytes_per_token(value: Value) -> int:
    if value.code_bytes:
        return int(_native.activation_bytes_per_token(value.width, value.code_bytes))
    return 4 * value.width
