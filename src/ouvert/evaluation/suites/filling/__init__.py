"""The suite `json`: read a short text and fill a form. Three grades: it is JSON, it follows the schema, the values are
right."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.filling.forms import FORMS, described, follows, leaves
from ouvert.evaluation.suites.generated import Draft, GeneratedSuite, Turn, copies_the_question, question
from ouvert.evaluation.suites.json_values import NotJsonError, json_value, same_value
from ouvert.evaluation.suites.language_data import language_data
from ouvert.evaluation.suites.suite import Card, Guess

VERSION = 1
FOLDER = Path(__file__).parent
FORM_TOKENS = 320
# Models write JSON as a block of code, and nobody minds; any other word beside it makes the answer malformed.
FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL | re.IGNORECASE)


def suite(card: Card) -> GeneratedSuite:
    """The suite. It has no settings."""
    return GeneratedSuite(card=card, version=VERSION, groups=tuple(FORMS), draft=draft, scorer=score, guess=guesses)


def draft(turn: Turn) -> Draft:
    """One form, asked freely and held to its schema."""
    data = language_data(FOLDER, turn.language)
    form = FORMS[turn.group](turn, data)
    fields = "\n".join(described(form.schema, data["types"]))
    said = data["ask"][turn.wording].format(text=form.text, fields=fields)
    return Draft(
        about=form.text,
        asks={"free": question(said, FORM_TOKENS), "schema": question(said, FORM_TOKENS, schema=form.schema)},
        expected={"value": form.value, "schema": form.schema},
    )


def score(item: Item, outcome: Outcome) -> Score:
    """A third for JSON, one for the schema, and of the last the share of values that are right. Raises nothing."""
    fenced = FENCE.fullmatch(outcome.text)
    try:
        value = json_value(fenced[1] if fenced else outcome.text)
    except NotJsonError:
        return Score(value=0.0, right=False, malformed=True, note="no JSON")
    if not follows(value, item.expected["schema"]):
        return Score(value=1 / 3, right=False, note="JSON that does not follow the schema")
    expected, found = leaves(item.expected["value"]), leaves(value)
    hits = sum(place in found and same_leaf(found[place], leaf) for place, leaf in expected.items())
    right = hits == len(expected) == len(found)
    share = hits / max(len(expected), len(found))
    return Score(
        value=1.0 if right else 2 / 3 + share / 3, right=right, note=f"{hits} of {len(expected)} values are right"
    )


def same_leaf(found: Any, expected: Any) -> bool:
    """The same value; texts may differ in capitals and in white space. Raises nothing."""
    if isinstance(found, str) and isinstance(expected, str):
        return " ".join(found.split()).casefold() == " ".join(expected.split()).casefold()
    return same_value(found, expected)


def empty(schema: Mapping[str, Any]) -> Any:
    """The least that follows a schema."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "object":
        return {name: empty(kind) for name, kind in schema["properties"].items()}
    return {"array": [], "integer": 0, "number": 0, "boolean": True}.get(schema["type"], "")


def fills_nothing(item: Item) -> Outcome:
    """A strategy: the schema's fields, empty."""
    return Outcome(text=json.dumps(empty(item.expected["schema"]), ensure_ascii=False), reason="stop")


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    return {
        "an empty form": fills_nothing,
        "an empty object": lambda item: Outcome(text="{}", reason="stop"),
        "copies the question": copies_the_question,
    }
