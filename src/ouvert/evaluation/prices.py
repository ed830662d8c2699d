"""What things cost the owner, as the owner says it. No price is built in."""

import re
from collections.abc import Mapping
from typing import Any

from ouvert.evaluation.error import EvaluationError

MONEY = r"(\d+(?:\.\d+)?)\s*([A-Za-z]{3}|[€$£])"
TARIFF = re.compile(rf"{MONEY}\s*/\s*kWh", re.IGNORECASE)
MACHINE = re.compile(rf"{MONEY}\s*/\s*(\d+(?:\.\d+)?)\s*y\s*/\s*(\d+(?:\.\d+)?)\s*h", re.IGNORECASE)
SIGNS = {"€": "EUR", "$": "USD", "£": "GBP"}
MOST_HOURS = 8784  # of a leap year


def prices(tariff: str | None, machine: str | None, watts: float | None = None) -> dict[str, Any]:
    """What a plan keeps of "0.25EUR/kWh", "800EUR/4y/1000h" (price, years, hours of use a year) and the watts that a
    meter at the plug showed while a model answered. Empty where nothing was said.

    Raises EvaluationError for what is no price, and for two currencies.
    """
    found: dict[str, Any] = {}
    if tariff is not None:
        match = TARIFF.fullmatch(tariff.strip())
        if match is None:
            raise wrong("--tariff", tariff, "a price a kilowatt-hour, such as 0.25EUR/kWh")
        found |= {"per_kwh": float(match[1]), "currency": currency(match[2])}
    if machine is not None:
        match = MACHINE.fullmatch(machine.strip())
        if match is None or not float(match[3]) or not 0 < float(match[4]) <= MOST_HOURS:
            raise wrong("--machine-price", machine, "price, years and hours of use a year, such as 800EUR/4y/1000h")
        if found.get("currency", currency(match[2])) != currency(match[2]):
            raise wrong("--machine-price", machine, f"the currency of the tariff, {found['currency']}")
        hours = float(match[3]) * float(match[4])
        found |= {"machine": float(match[1]), "machine_hours": hours, "currency": currency(match[2])}
    if watts is not None:
        if not 0 < watts < 1e5:
            raise wrong("--watts-measured", str(watts), "the watts that a meter showed, such as 43")
        found["watts"] = watts
    return found


def cost_of(stated: Mapping[str, Any], seconds: float, joules: float | None) -> float | None:
    """What an answer costs, in `stated["currency"]`: the machine's time, and its energy. None where a price was stated
    and what it needs is not known, or none was stated. Raises nothing."""
    cost = 0.0
    if "per_kwh" in stated:
        if joules is None:
            return None
        cost += joules / 3.6e6 * stated["per_kwh"]
    if "machine" in stated:
        cost += seconds / 3600 * stated["machine"] / stated["machine_hours"]
    return cost if "currency" in stated else None


def currency(sign: str) -> str:
    return SIGNS.get(sign, sign.upper())


def wrong(option: str, given: str, expected: str) -> EvaluationError:
    return EvaluationError(f"reading {option}: {given!r:.60}, expected {expected}. Correct it, or leave it out.")
