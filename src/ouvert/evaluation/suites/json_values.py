"""JSON that a model wrote: read strictly, and compared by value."""

import json
from typing import Any


class NotJsonError(Exception):
    """A text is no JSON. The message says why."""


def json_value(text: str) -> Any:
    """The value of a text that is JSON and nothing else, as RFC 8259 has it: no NaN, no name twice in an object.

    Raises NotJsonError.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError) as problem:
        raise NotJsonError(str(problem)) from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names something twice")
    return found


def same_value(first: Any, second: Any) -> bool:
    """Whether two JSON values are the same: 1 and 1.0 are, 1 and true are not; lists keep their order.

    Raises nothing for values that `json_value` gave.
    """
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same_value(first[name], second[name]) for name in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(same_value, first, second))
    return bool(first == second)
