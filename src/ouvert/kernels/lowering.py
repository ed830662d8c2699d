"""From what a graph noted down to the instructions of a native program. tracer.py says what happens and why."""

from collections.abc import Iterable, Sequence
from typing import Any

from ouvert.kernels.arena import Arena
from ouvert.kernels.fusing import Fusing
from ouvert.kernels.looking import InArena, Looking
from ouvert.kernels.trace import Memory, Op, Rows, Value

# What computes each row from the same row of what it reads.
ROWWISE = frozenset(
    {
        "edit",
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
CACHE_WRITERS = frozenset({"attend", "attend_latent", "convolve", "selective_scan", "ssd_scan"})


def lower(
    ops: Sequence[Op], logits: Value, native: Any, *, exact: bool, memories: Sequence[Memory]
) -> tuple[Looking, list[Any]]:
    """Fill `native`. Returns what of it is kept for whoever looks, and what must live as long as the program."""
    ops, logits = needed_rows(needed_ops(ops, [logits, *watched_of(ops)]), logits)
    fusing = Fusing(ops, logits, native, exact=exact, memories=memories)
    steps, holds = fusing.steps()
    watched = watched_of(ops)
    arena = Arena(steps, logits, [value for value in watched if not value.apart])
    native.arena(arena.bytes_per_token)
    for step in steps:
        step.emit(arena.native)
    kept = {
        value: fusing.shown.get(value) or InArena(value, None if value is logits else arena.native(value))
        for value in watched
    }
    return Looking(native, {name: kept[value] for value in watched for name in value.watched}), holds


def watched_of(ops: Iterable[Op]) -> list[Value]:
    """The values that somebody watches, in the order they are made."""
    return [value for op in ops for value in op.writes if value.watched]


def needed_ops(ops: Iterable[Op], results: Iterable[Value]) -> list[Op]:
    """The operations that the results depend on, in their order, and whatever fills caches."""
    wanted, kept = set(results), []
    for op in reversed(list(ops)):
        if op.kind in CACHE_WRITERS or wanted.intersection(op.writes):
            wanted.update(op.reads)
            kept.append(op)
    return kept[::-1]


def needed_rows(ops: Sequence[Op], logits: Value) -> tuple[list[Op], Value]:
    """The same with `select` moved up as far as it goes: a row that nobody looks at is not computed.

    And the value that is the logits then: where the graph ends with `select`, not the one it was.
    """
    early = EarlySelects(demanded_rows(ops, logits))
    for op in ops:
        if op.kind == "select":
            early.select(op)
        else:
            early.compute(op)
    return early.ops, early.have(logits, "wanted")


Demands = dict[Value, set[Rows]]


def demanded_rows(ops: Sequence[Op], logits: Value) -> Demands:
    """Which rows of each value somebody reads."""
    demands: Demands = {logits: {"wanted"}}
    for op in reversed(ops):
        below: Rows = "wanted" if op.kind == "select" else rows_computed(op, demands)
        for value in op.reads:
            demands.setdefault(value, set()).add(below)
    return demands


def rows_computed(op: Op, demands: Demands) -> Rows:
    """The rows that an operation must compute: the wanted ones if nobody reads or watches others, and rows are
    independent."""
    asked = {rows for value in op.writes for rows in demands.get(value, set())}
    if any(value.watched for value in op.writes):
        asked.add(op.writes[0].rows)
    return "wanted" if op.kind in ROWWISE and asked == {"wanted"} else "tokens"


class EarlySelects:
    """The operations again, each on the rows that are needed of it."""

    def __init__(self, demands: Demands) -> None:
        self.demands = demands
        self.ops: list[Op] = []
        self.now: dict[tuple[Value, Rows], Value] = {}  # these rows of that value, where they have been made

    def select(self, op: Op) -> None:
        (of,), (out,) = op.reads, op.writes
        picked = self.now[out, "wanted"] = self.have(of, "wanted")
        picked.watched += out.watched

    def compute(self, op: Op) -> None:
        rows = rows_computed(op, self.demands)
        for value in op.writes:
            value.rows = rows
            self.now[value, rows] = value
        self.ops.append(Op(op.kind, [self.have(value, rows) for value in op.reads], op.writes, op.given))
        for value in op.writes:
            if "wanted" in self.demands.get(value, set()):
                self.have(value, "wanted")  # at once, so that it stands before whoever could be fused with its reader

    def have(self, value: Value, rows: Rows) -> Value:
        """These rows of a value; they are selected now if that has not been done."""
        if (value, rows) not in self.now:
            picked = Value("wanted", value.width)
            self.ops.append(Op("select", [self.now[value, "tokens"]], [picked]))
            self.now[value, rows] = picked
        return self.now[value, rows]
