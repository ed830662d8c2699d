"""Which suites there are: the cards beside this file."""

import tomllib
from dataclasses import fields
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.suites.suite import Card, Suite

CARDS = Path(__file__).parent / "cards"
LANGUAGES = ("en", "fr")  # that texts of a card are in


@cache
def cards() -> MappingProxyType[str, Card]:
    """Every card, by the suite's name. Raises EvaluationError for a card that is not whole."""
    return MappingProxyType({path.stem: read_card(path) for path in sorted(CARDS.glob("*.toml"))})


def read_card(path: Path) -> Card:
    """Raises EvaluationError for what is missing and for what no card has."""
    stated = tomllib.loads(path.read_text(encoding="utf-8"))
    known = {field.name for field in fields(Card)} - {"name"}
    required = known - {"digest", "graded", "stays"}
    missing, unknown = sorted(required - stated.keys()), sorted(stated.keys() - known)
    for text in ("title", "what", "cluster", "contamination", "small_models"):
        missing += [f"{text}.{language}" for language in LANGUAGES if language not in stated.get(text, {})]
    if missing or unknown:
        raise EvaluationError(f"reading the card {path.name}: {missing=}, {unknown=}. A card has the fields of Card.")
    lists = {name: tuple(stated[name]) for name in ("languages", "forms", "asks")}
    # TOML has no null: a form without a chance level has -1.
    chance = {form: None if share < 0 else float(share) for form, share in stated["chance"].items()}
    return Card(name=path.stem, **{**stated, **lists, "chance": chance})


def open_suite(name: str, **settings: Any) -> Suite:
    """The suite of that name. Raises EvaluationError for a name or setting that there is not or that is
    missing, and what its module raises."""
    if name not in cards():
        raise EvaluationError(
            f"opening the suite {name!r}: there is none of that name; there are {', '.join(cards())}."
        )
    card = cards()[name]
    make = import_module(f"ouvert.evaluation.suites.{card.module}").suite
    taken = list(signature(make).parameters.values())[1:]  # behind the card
    known = [each.name for each in taken]
    needed = [each.name for each in taken if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if missing := [name for name in needed if name not in settings]:
        raise EvaluationError(
            f"opening the suite {name!r}: it lacks {missing[0]}, expected where its data is. Say so: --suite-data "
            f"{name}=PATH."
        )
    if unknown := sorted(settings.keys() - set(known)):
        raise EvaluationError(
            f"opening the suite {name!r}: got the settings {', '.join(unknown)}; "
            f"it has {', '.join(known) or 'no settings'}."
        )
    try:
        signature(make).bind(card, **settings)
    except TypeError as problem:
        place = (
            f" It needs its place: --suite-data {name}=PATH, or `path` in Python." if "'path'" in str(problem) else ""
        )
        raise EvaluationError(f"opening the suite {name!r}: {problem}.{place}") from None
    return cast("Suite", make(card, **settings))
