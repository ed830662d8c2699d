"""What a contestant takes: memory, energy, money. What is not known says why, by a key of texts/measures."""

from collections.abc import Mapping, Sequence
from typing import Any

from ouvert.evaluation.analysis.speeds import Alone
from ouvert.evaluation.comparison import Resources
from ouvert.evaluation.contestants.contestant import ContestantFacts
from ouvert.evaluation.plan import Plan
from ouvert.evaluation.price_list import cost_elsewhere
from ouvert.evaluation.prices import cost_of

SIZES = {"8": 8e9, "16": 16e9, "32": 32e9}  # bytes of a machine's memory, by its name in the report
SHARE = 0.8  # of it that a model may take


def resources_of(plan: Plan, alone: Mapping[str, Alone]) -> tuple[Resources, ...]:
    """By contestant, in the plan's order. Raises nothing."""
    return tuple(of_contestant(facts, plan.prices, alone[facts.label]) for facts in plan.contestants)


def of_contestant(facts: ContestantFacts, prices: Mapping[str, Any], alone: Alone) -> Resources:
    missing: dict[str, str] = {}
    memory = {int(context): int(each) for context, each in facts.about.get("memory", {}).items()}
    context, peak = max(memory.items(), default=(None, None))
    if peak is None:
        missing["peak_bytes"] = "elsewhere" if facts.where == "remote" else "not_said"
    seconds = mean([answer.cost.whole for answer in alone.answers])
    joules = joules_of(alone, prices)
    if joules is None:
        missing["joules"] = "joules" if facts.where != "remote" else "elsewhere"
    cost, currency = money_of(facts, prices, alone, joules)
    if cost is None:
        missing["cost"] = why_no_cost(facts, prices, seconds)
    right = sum(alone.right) / len(alone.right) if alone.right else 0.0
    return Resources(
        contestant=facts.label, weight_bytes=facts.about.get("bytes"), peak_bytes=peak, context=context,
        fits=None if peak is None else {name: peak <= SHARE * size for name, size in SIZES.items()},
        joules=joules, joules_per_right=joules / right if joules is not None and right else None,
        cost=cost, cost_per_right=cost / right if cost is not None and right else None,
        currency=currency if cost is not None else "", not_measured=missing or None,
    )  # fmt: skip


def money_of(
    facts: ContestantFacts, prices: Mapping[str, Any], alone: Alone, joules: float | None
) -> tuple[float | None, str]:
    """(what an answer costs, the currency): of a remote contestant by the tokens and the owner's list of prices."""
    if facts.where == "remote":
        return cost_elsewhere(facts.about, [answer.cost for answer in alone.answers]) or (None, "")
    seconds = mean([answer.cost.whole for answer in alone.answers])
    return None if seconds is None else cost_of(prices, seconds, joules), str(prices.get("currency", ""))


def joules_of(alone: Alone, prices: Mapping[str, Any]) -> float | None:
    """Joules an answer: by the machine's own counters, else by the watts that the owner read at the plug."""
    counted = [answer.cost.joules for answer in alone.answers if answer.cost.joules is not None]
    if counted and len(counted) == len(alone.answers):
        return mean(counted)
    seconds = mean([answer.cost.whole for answer in alone.answers])
    return None if seconds is None or "watts" not in prices else seconds * float(prices["watts"])


def why_no_cost(facts: ContestantFacts, prices: Mapping[str, Any], seconds: float | None) -> str:
    if facts.where == "remote":
        return "elsewhere"
    if "currency" not in prices:
        return "no_price"
    return "no_seconds" if seconds is None else "joules"


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
