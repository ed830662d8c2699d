"""Whether a call is exactly the one that is wanted."""

import json
from collections.abc import Mapping
from typing import Any, cast

from ouvert.evaluation.item import Chat, Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.generated import all_or_nothing
from ouvert.evaluation.suites.tools.catalogue import said

Made = tuple[str, Any]  # a tool's name, and its arguments


def score(item: Item, outcome: Outcome) -> Score:
    """1 for one call of the right tool with all arguments right and no other, or for no call where no tool fits."""
    try:
        made = calls_made(item, outcome)
    except (ValueError, RecursionError, KeyError, TypeError) as problem:
        return all_or_nothing(False, f"no call can be read: {type(problem).__name__}", malformed=True)
    wanted, names = item.expected["tool"], [name for name, _ in made]
    if wanted is None:
        return all_or_nothing(not made, f"calls {names}, and no tool fits")
    if names != [wanted]:
        return all_or_nothing(False, f"calls {names}, not {wanted}")
    return all_or_nothing(same_arguments(made[0][1], item.expected["arguments"]), f"arguments {str(made[0][1])[:200]}")


def calls_made(item: Item, outcome: Outcome) -> list[Made]:
    """Every call of the outcome. Raises ValueError, RecursionError, KeyError or TypeError for what is no call."""
    if item.form == "free":
        if not outcome.calls and written_as_text(item, outcome.text):
            raise ValueError("a call that is only text")
        return [(call.name, json.loads(call.arguments)) for call in outcome.calls]
    answer = json.loads(outcome.text)
    if set(answer) != {"call"} or set(answer["call"]) != {"tool", "arguments"}:
        raise ValueError("another object")
    name = answer["call"]["tool"]
    return [] if name == said(item.language)["none"] else [(name, answer["call"]["arguments"])]


def written_as_text(item: Item, text: str) -> bool:
    """Whether the text has the name of an offered tool and an object: a call that no program would carry out."""
    return "{" in text and any(each["function"]["name"] in text for each in cast("Chat", item.ask).tools)


def same_arguments(given: Any, wanted: Mapping[str, Any]) -> bool:
    return (
        isinstance(given, dict)
        and given.keys() == wanted.keys()
        and all(same_value(given[name], value) for name, value in wanted.items())
    )


def same_value(given: Any, wanted: str | int) -> bool:
    """Texts may differ in capitals, in white space around them and in a full stop at the end; numbers are numbers."""
    if isinstance(wanted, str):
        return isinstance(given, str) and plain(given) == plain(wanted)
    return isinstance(given, int | float) and not isinstance(given, bool) and given == wanted


def plain(text: str) -> str:
    return text.strip().rstrip(".").replace("’", "'").casefold()
