"""Tool calls whose arguments stand in tags, one for each parameter, as Qwen3-Coder writes them.

    <tool_call>
    <function=NAME>
    <parameter=KEY>
    VALUE
    </parameter>
    </function>
    </tool_call>

A value is bare text: whether `20` is a number or a text is only known from the tool's schema. Format: the chat template
of Qwen3-Coder; docs/formats/templates.md.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

CALL = re.compile(r"<function=([^>\n]+)>(.*?)</function>\s*", re.DOTALL)
UNCLOSED = re.compile(r"<function=([^>\n]+)>(.*)", re.DOTALL)
# The end of a value is the closing tag behind which another parameter or the end of the call follows: a value may be
# text that has such tags itself.
PARAMETER = re.compile(r"<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>\s*(?=<parameter=|\Z)", re.DOTALL)
PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}


def tagged_calls(region: str, *, cut: bool) -> Iterator[tuple[str, dict[str, str]] | None]:
    """Each call of a region, its parameters as texts; None for what is no whole call.

    The last one may lack its closing tag, unless the region was `cut` off.
    """
    at = len(region) - len(region.lstrip())
    while at < len(region):
        found = CALL.match(region, at) or (None if cut else UNCLOSED.match(region, at))
        parameters = None if found is None else parameters_of(found[2].strip())
        if found is None or parameters is None:
            yield None
            return
        yield found[1].strip(), parameters
        at = found.end()


def parameters_of(body: str) -> dict[str, str] | None:
    values: dict[str, str] = {}
    at = 0
    while at < len(body):
        found = PARAMETER.match(body, at)
        if found is None:
            return None
        values[found[1].strip()] = found[2]
        at = found.end()
    return values


def typed_arguments(texts: str, schema: Mapping[str, Any] | None) -> str:
    """The JSON text of a call's arguments from `texts`, a JSON object all of whose values are texts.

    A text stays one where the schema of its parameter allows texts only; elsewhere it is the JSON value that it spells,
    if that is of an allowed type.
    """
    properties = (schema or {}).get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    members = (
        f"{json.dumps(key, ensure_ascii=False)}: {typed(text, known.get(key))}"
        for key, text in json.loads(texts).items()
    )
    return "{" + ", ".join(members) + "}"


def typed(text: str, schema: object) -> str:
    """The JSON text of one value."""
    allowed = types_of(schema)
    spelled = PYTHON_WORDS.get(text.strip(), text.strip())
    try:
        value = json.loads(spelled, parse_constant=refuse, parse_float=finite)
    except (ValueError, RecursionError):
        value = text
    kind = "null" if value is None else TYPES[type(value)]
    fits = kind != "string" and (not allowed or kind in allowed or (kind == "integer" and "number" in allowed))
    if allowed and "string" not in allowed and kind != "string":
        fits = True  # no text is allowed: a wrong type is told by whoever checks the arguments
    return spelled if fits else json.dumps(text, ensure_ascii=False)


def refuse(word: str) -> None:
    raise ValueError(word)


def finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(digits)
    return number


def types_of(schema: object) -> set[str]:
    """The JSON types that a schema allows; empty where it does not say, or says it as no schema does."""
    if not isinstance(schema, Mapping):
        return set()
    if "type" in schema:
        named = schema["type"]
        several = named if isinstance(named, list) else [named]
        return {each for each in several if isinstance(each, str)}
    if "enum" in schema or "const" in schema:
        values = schema["enum"] if isinstance(schema.get("enum"), list) else [schema.get("const")]
        return {"null" if value is None else TYPES.get(type(value), "string") for value in values}
    found: set[str] = set()
    for key in ("anyOf", "oneOf"):
        for each in schema[key] if isinstance(schema.get(key), list) else ():
            inner = types_of(each)
            if not inner:
                return set()
            found |= inner
    return found
