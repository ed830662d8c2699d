"""What remote answers cost, by the owner's own list. No price is built in: each has its source and its day."""

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.outcome import Cost

MILLION = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Of a million tokens read (`input`) and written (`output`, thoughts among them), in `currency`. `source`: where
    the owner read it; `read`: the day, as 2026-11-30."""

    input: float
    output: float
    currency: str
    source: str
    read: str

    def of(self, prompt_tokens: int, output_tokens: int) -> float:
        """What so many tokens cost. Raises nothing."""
        return (prompt_tokens * self.input + output_tokens * self.output) / MILLION


def read_prices(path: Path) -> Mapping[str, Price]:
    """The owner's list: a table for each contestant, under the name it is written by ("openai:gpt-5").

    Raises EvaluationError for a file that cannot be read, and for what is no such list.
    """
    try:
        stated = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise EvaluationError(
            f"reading the prices in {path.name}: {problem}, expected a TOML file. Correct remote.prices, or the file."
        ) from problem
    return {name: price_of(name, entry, path) for name, entry in stated.items()}


def price_of(name: str, entry: Any, path: Path) -> Price:
    known = {field.name for field in fields(Price)}
    given = dict(entry) if isinstance(entry, Mapping) else {}
    if isinstance(given.get("read"), date):
        given["read"] = given["read"].isoformat()
    numbers = [given.get(each) for each in ("input", "output")]
    texts = [given.get(each) for each in ("currency", "source", "read")]
    if (
        given.keys() != known
        or not all(is_amount(each) for each in numbers)
        or not all(isinstance(each, str) and each.strip() for each in texts)
    ):
        raise EvaluationError(
            f"reading the prices in {path.name}: {name!r:.80} is {entry!r:.200}, expected input and output (the "
            "prices of a million tokens), currency, source and read (the day). Correct it: a price without "
            "a source is not used."
        )
    return Price(**given)


def is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def price_for(prices: Mapping[str, Price], label: str) -> Price | None:
    """The contestant's own, or that of its model whatever the effort. Raises nothing."""
    return prices.get(label) or prices.get(label.rpartition(":")[0])


def cost_of_answers(price: Price, costs: Iterable[Cost]) -> float | None:
    """What those answers cost at that price, in its currency. None where an answer's tokens are not known: half a sum
    is no price. Raises nothing."""
    total = 0.0
    for cost in costs:
        if cost.prompt_tokens is None or cost.output_tokens is None:
            return None
        total += price.of(cost.prompt_tokens, cost.output_tokens)
    return total


def cost_elsewhere(about: Mapping[str, Any], costs: Sequence[Cost]) -> tuple[float, str] | None:
    """(what an answer cost, on the mean, and the currency) of a contestant that has the owner's price among what is
    known of it (`ContestantFacts.about`). None without a price, without answers, and where an answer's tokens are not
    known. Raises nothing."""
    if "price" not in about or not costs:
        return None
    price = Price(**about["price"])
    whole = cost_of_answers(price, costs)
    return None if whole is None else (whole / len(costs), price.currency)


def answers_to_break_even(machine: float, here: float, there: float) -> float | None:
    """After how many answers a machine of that price has cost less than asking elsewhere, where an answer costs `here`
    (its energy) and `there`, all in one currency. None where it never does. Raises nothing."""
    return math.ceil(machine / (there - here)) if there > here else None
