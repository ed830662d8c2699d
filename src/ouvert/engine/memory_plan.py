"""How a model uses the memory it may take: all of it, or with its experts on disk and the busiest of them kept."""

from dataclasses import dataclass

from ouvert.engine.fit import BESIDES, USABLE, Demand, Machine, cache_of
from ouvert.engine.interface import EngineError

# A conversation that there is room for beside experts, where nobody asks for another length.
USUAL_CONTEXT = 8192
# Shares of the disk's speed and of the memory's that steps with experts on disk reached: docs/figures has the runs.
SHARE_OF_DISK = (0.90, 1.00)
SHARE_OF_BANDWIDTH = (0.55, 0.95)
SHARE_OF_MULTIPLY_ADDS = (0.30, 0.75)
# A prompt is read in pieces of so many tokens; each piece meets nearly all experts.
PIECE_TOKENS = 512
# The program keeps two experts at least, so that one is read while another computes.
LEAST_EXPERTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes. `resident`: weights that every token needs, copied into memory; `caches`: of a conversation; `experts`:
    of experts that are kept; the others, up to `all_experts`, are read when a router chooses them."""

    resident: int
    caches: int
    experts: int
    all_experts: int

    @property
    def memory(self) -> int:
        """All of it, with what the process takes besides. Raises nothing."""
        return self.resident + self.caches + self.experts + BESIDES

    @property
    def share_kept(self) -> float:
        """The part of the experts that is kept: the hit rate where a router chooses all alike. Raises nothing."""
        return min(1.0, self.experts / self.all_experts)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskForecast:
    """A plan, and what reading experts from disk gives: `hit_rate` is the part of a token's experts that is found in
    memory, `read_per_token` the bytes of the others. Tokens a second as (at least, at most)."""

    plan: MemoryPlan
    hit_rate: float
    read_per_token: int
    decode: tuple[float, float]
    prefill: tuple[float, float]


def plan_memory(demand: Demand, room: int, context: int) -> MemoryPlan | None:
    """The plan for a model that does not fit into `room` bytes with a conversation of `context` tokens; None where it
    fits, has no experts, or does not fit with its experts on disk either. Raises nothing."""
    if not demand.experts or demand.weights + cache_of(demand, context) + BESIDES <= room:
        return None
    plan = least_plan(demand, context)
    left = room - plan.memory
    return None if left < 0 else with_experts(plan, plan.experts + left)


def least_plan(demand: Demand, context: int) -> MemoryPlan:
    """The plan with as few experts as a program keeps. Raises nothing."""
    return MemoryPlan(
        resident=demand.weights - demand.experts - demand.looked_up,
        caches=cache_of(demand, context),
        experts=LEAST_EXPERTS * demand.largest_expert,
        all_experts=demand.experts,
    )


def with_experts(plan: MemoryPlan, experts: int) -> MemoryPlan:
    """The plan with so many bytes of experts, or all there are. Raises nothing."""
    return MemoryPlan(
        resident=plan.resident,
        caches=plan.caches,
        experts=min(experts, plan.all_experts),
        all_experts=plan.all_experts,
    )


def forecast_from_disk(
    demand: Demand, machine: Machine, disk: float, context: int, hit_rate: float | None = None
) -> DiskForecast | None:
    """What to expect with experts on a disk that gives `disk` bytes a second; None as `plan_memory`.

    `hit_rate`: left out, that of a router which chooses all experts alike. Decoding is at half of `context` on average.
    Raises nothing.
    """
    plan = plan_memory(demand, machine.room, context)
    if plan is None:
        return None
    hits = plan.share_kept if hit_rate is None else hit_rate
    missing = demand.experts_per_token * (1.0 - hits)
    from_memory = demand.read_per_token + demand.cache(context // 2)
    piece = demand.experts * (1.0 - plan.share_kept)

    def tokens_per_second(tokens: int, from_disk: float, computing: tuple[float, float]) -> tuple[float, float]:
        """At least: one after the other. At most: side by side."""
        slow, fast = from_disk / (SHARE_OF_DISK[0] * disk), from_disk / (SHARE_OF_DISK[1] * disk)
        return tokens / (slow + computing[0]), tokens / max(fast, computing[1])

    reading = [from_memory / (share * machine.bandwidth) for share in SHARE_OF_BANDWIDTH]
    multiplying = [PIECE_TOKENS * demand.active / machine.multiply_adds / share for share in SHARE_OF_MULTIPLY_ADDS]
    return DiskForecast(
        plan=plan,
        hit_rate=hits,
        read_per_token=round(missing),
        decode=tokens_per_second(1, missing, (reading[0], reading[1])),
        prefill=tokens_per_second(PIECE_TOKENS, piece, (multiplying[0], multiplying[1])),
    )


def plan_within(demand: Demand, memory: int | None, machine: int | None, context: int) -> MemoryPlan | None:
    """The plan for a model that is about to be opened; None: all of it goes into memory.

    `memory`: bytes that its owner allows. Left out, it is what may be asked for of the `machine`'s bytes, and where the
    model cannot be made to fit, it is opened all the same. Raises EngineError for a model that does not fit into
    `memory`.
    """
    room = memory if memory is not None else None if machine is None else int(machine * USABLE)
    if room is None:
        return None
    plan = plan_memory(demand, room, context)
    if plan is None and memory is not None and demand.weights > memory:
        least = least_plan(demand, context).memory if demand.experts else demand.weights
        raise EngineError(
            f"loading a model: its weights take {demand.weights / 1e9:.2f} GB, and it may take {memory / 1e9:.2f} GB. "
            + (
                f"With its experts on disk it needs {least / 1e9:.2f} GB, with caches for {context} tokens. Allow so "
                "much, or a shorter context."
                if demand.experts
                else "It has no experts that could stay on disk. Allow more, or choose a smaller model."
            )
        )
    return plan
