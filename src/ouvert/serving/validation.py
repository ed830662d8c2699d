"""What is wrong with a request's body: one fault, the one nearest to what was meant, with its place and the remedy."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from ouvert.serving.errors import Refusal

LONGEST_SHOWN = 120
OTHERS_SHOWN = 5
# Kinds of fault that say "this is another kind of value altogether" -> what was expected instead.
OTHER_KINDS = {
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "none_required": "null",
}
# Faults of values of the right kind -> what was expected, from the fault's own facts.
BOUNDS = {
    "greater_than_equal": "{ge} or more",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "too_long": "at most {max_length} of them",
    "too_short": "at least {min_length} of them",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "literal_error": "{expected}",
    "finite_number": "a finite number",
}
# What an object at the end of a place looks like, where its name alone does not say it.
OBJECTS = {
    "Part": 'an object such as {"type": "text", "text": "..."}',
    "Block": 'an object such as {"type": "text", "text": "..."}',
    "ChatMessage": 'an object such as {"role": "user", "content": "..."}',
    "SentMessage": 'an object such as {"role": "user", "content": "..."}',
    "OllamaMessage": 'an object such as {"role": "user", "content": "..."}',
}
Fault = Mapping[str, Any]


def refusal_of_validation(problem: ValidationError, body: Any = None) -> Refusal:
    """The first wrong field's nearest fault. `body` is what was read; without it places keep the names of alternatives.

    A value that may be several things has a fault for each. The nearest is the one that lies deepest (a list of parts
    whose second part is wrong was meant to be that list), of the alternative with the fewest faults, or whose fault is
    the last; then one about a value of the right kind.
    """
    placed = [(*place_of(fault, body), fault) for fault in problem.errors(include_url=False)]
    top = placed[0][0][:1]
    same_field = [each for each in placed if each[0][:1] == top]
    root = min((place for place, _, _ in same_field), key=len)
    related = [each for each in same_field if each[0][: len(root)] == root]
    faults_of = Counter(alternative for _, alternative, _ in related)
    deepest = max(len(place) for place, _, _ in related)
    candidates = [each for each in related if len(each[0]) == deepest]
    candidates.sort(key=lambda each: (faults_of[each[1]], [-step for step in each[0] if isinstance(step, int)]))
    place = candidates[0][0]
    here = [fault for where, _, fault in candidates if where == place]
    right_kind = [fault for fault in here if fault["type"] not in OTHER_KINDS and fault["type"] != "literal_error"]
    where = written(place)
    others = named(dict.fromkeys(written(where[:1]) for where, _, _ in placed if where[:1] != top))
    sentence = said(where, right_kind[:1] or here)
    return Refusal(400, sentence + others, code="invalid_value", param=where or None)


def place_of(fault: Fault, body: Any) -> tuple[tuple[str | int, ...], tuple[str | int, ...]]:
    """(where the fault is in the body, the names of the alternatives that pydantic tried on its way there)."""
    if body is None:
        return tuple(fault["loc"]), ()
    place: list[str | int] = []
    alternatives: list[str | int] = []
    value = body
    for step in fault["loc"]:
        missing = fault["type"] == "missing" and step == fault["loc"][-1]
        if isinstance(value, Mapping) and (step in value or missing):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
        else:
            alternatives.append(step)
            continue
        place.append(step)
    return tuple(place), tuple(alternatives)


def named(others: Collection[str]) -> str:
    """The other fields that are wrong, for the end of a sentence about the first; empty where there is none."""
    if not others:
        return ""
    shown = [name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]} …" for name in [*others][:OTHERS_SHOWN]]
    more = len(others) - len(shown)
    return f" (Also wrong: {', '.join(shown)}{f' and {more} more' if more else ''}.)"


def written(place: Sequence[str | int]) -> str:
    """("messages", 0, "content") -> messages[0].content"""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def said(where: str, faults: Sequence[Fault]) -> str:
    first = faults[0]
    if first["type"] == "missing":
        return f"{where} is missing. Send it."
    if first["type"] == "extra_forbidden":
        return f"{where} is not known here, expected the fields of /openapi.json. Leave it out, or correct its name."
    given = repr(first["input"])
    given = given if len(given) <= LONGEST_SHOWN else given[:LONGEST_SHOWN] + " …"
    wanted = list(dict.fromkeys(expected(fault) for fault in faults))
    one_of = wanted[0] if len(wanted) == 1 else f"{', '.join(wanted[:-1])} or {wanted[-1]}"
    remedy = "Correct it, or leave it out." if where else "Send a JSON object."
    return f"{where or 'The body'} is {given}, expected {one_of}. {remedy}"


def expected(fault: Fault) -> str:
    kind, facts = fault["type"], fault.get("ctx", {})
    if kind.startswith("model_"):
        return OBJECTS.get(facts.get("class_name", ""), "an object")
    if kind in OTHER_KINDS:
        return OTHER_KINDS[kind]
    if kind in BOUNDS:
        return BOUNDS[kind].format(**facts)
    if kind == "value_error":
        return str(facts.get("error", fault["msg"]))
    return str(fault["msg"]).removeprefix("Input should be ").removeprefix("Value should be ")
