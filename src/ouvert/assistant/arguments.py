"""Whether a call's arguments follow their tool's JSON schema: for calls that were not held to it as they were written.

Every keyword of the drafts 4 to 2020-12 that says something about a value is looked at, but for `format`,
`content…`, and references that this reads nowhere in the schema (`$dynamicRef`, other documents).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from ouvert.engine import matches

DEEPEST = 100  # of references and values; what goes deeper follows nothing
MOST_STEPS = 20_000  # schemas beside values, in one look
NUMBER = (int, float)


class MismatchError(Exception):
    """The value is not what the schema describes, or nobody can say so in the steps there are."""


def follows(value: Any, schema: Any) -> bool:
    """Whether a JSON value is valid under the schema."""
    try:
        SchemaCheck(schema).at(value, schema, 0)
    except (MismatchError, OverflowError, RecursionError):  # numbers that no float is, values that go too deep
        return False
    return True


class SchemaCheck:
    """One look at one value. Every method raises MismatchError for what is not as it should be."""

    def __init__(self, root: Any) -> None:
        self._root, self._steps = root, 0

    def at(self, value: Any, schema: Any, depth: int) -> None:
        self._steps += 1
        if schema is True or not isinstance(schema, Mapping):
            need(schema is not False)
            return
        need(depth <= DEEPEST and self._steps <= MOST_STEPS)
        if isinstance(schema.get("$ref"), str):
            self.at(value, self._target(schema["$ref"]), depth + 1)
        need("const" not in schema or same(value, schema["const"]))
        need("enum" not in schema or any(same(value, each) for each in rows(schema["enum"])))
        need("type" not in schema or is_of(value, schema["type"]))
        self._combined(value, schema, depth)
        match value:
            case bool() | None:
                return
            case str():
                text(value, schema)
            case int() | float():
                number(value, schema)
            case list():
                self._array(value, schema, depth)
            case dict():
                self._object(value, schema, depth)

    def holds(self, value: Any, schema: Any, depth: int) -> bool:
        try:
            self.at(value, schema, depth + 1)
        except MismatchError:
            need(self._steps <= MOST_STEPS)
            return False
        return True

    def _target(self, reference: str) -> Any:
        document, _, pointer = reference.partition("#")
        need(not document)
        found = self._root
        for piece in filter(None, unquote(pointer).split("/")):
            name = piece.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
                found = found[int(name)]
            else:
                need(isinstance(found, Mapping) and name in found)
                found = found[name]
        return found

    def _combined(self, value: Any, schema: Mapping[str, Any], depth: int) -> None:
        for each in rows(schema.get("allOf")):
            self.at(value, each, depth + 1)
        if "anyOf" in schema:
            need(any(self.holds(value, each, depth) for each in rows(schema["anyOf"])))
        if "oneOf" in schema:
            need(sum(self.holds(value, each, depth) for each in rows(schema["oneOf"])) == 1)
        if "not" in schema:
            need(not self.holds(value, schema["not"], depth))
        if "if" in schema:
            self.at(value, schema.get("then" if self.holds(value, schema["if"], depth) else "else", True), depth + 1)

    def _array(self, value: list[Any], schema: Mapping[str, Any], depth: int) -> None:
        need(bounded(len(value), schema, "minItems", "maxItems"))
        need(
            schema.get("uniqueItems") is not True or not any(same(a, b) for n, a in enumerate(value) for b in value[:n])
        )
        items = schema.get("items")
        first = rows(schema.get("prefixItems")) or rows(items)
        rest = schema.get("additionalItems", True) if isinstance(items, list) else (True if items is None else items)
        for n, each in enumerate(value):
            self.at(each, first[n] if n < len(first) else rest, depth + 1)
        if "contains" in schema:
            found = sum(self.holds(each, schema["contains"], depth) for each in value)
            need(schema.get("minContains", 1) <= found <= schema.get("maxContains", math.inf))

    def _object(self, value: dict[str, Any], schema: Mapping[str, Any], depth: int) -> None:
        need(bounded(len(value), schema, "minProperties", "maxProperties"))
        need(all(name in value for name in rows(schema.get("required"))))
        named, patterns = mapping(schema.get("properties")), mapping(schema.get("patternProperties"))
        for name, each in value.items():
            described = [named[name]] if name in named else []
            described += [inner for pattern, inner in patterns.items() if matches(pattern, name)]
            for inner in described or [schema.get("additionalProperties", True)]:
                self.at(each, inner, depth + 1)
            self.at(name, schema.get("propertyNames", True), depth + 1)
        asked = {**mapping(schema.get("dependencies")), **mapping(schema.get("dependentRequired"))}
        for name, needed in {**asked, **mapping(schema.get("dependentSchemas"))}.items():
            if name in value and isinstance(needed, list):
                need(all(other in value for other in needed))
            elif name in value:
                self.at(value, needed, depth + 1)


def need(condition: bool) -> None:
    if not condition:
        raise MismatchError


def rows(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def bounded(size: float, schema: Mapping[str, Any], least: str, most: str) -> bool:
    low, high = schema.get(least, -math.inf), schema.get(most, math.inf)
    return (not isinstance(low, NUMBER) or size >= low) and (not isinstance(high, NUMBER) or size <= high)


def text(value: str, schema: Mapping[str, Any]) -> None:
    need(bounded(len(value), schema, "minLength", "maxLength"))
    need(not isinstance(schema.get("pattern"), str) or matches(schema["pattern"], value))


def number(value: int | float, schema: Mapping[str, Any]) -> None:
    need(bounded(value, schema, "minimum", "maximum"))
    for word, side in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        bound = schema.get(word)
        bound = schema.get(side) if bound is True else bound  # draft 4 says true
        if isinstance(bound, NUMBER) and not isinstance(bound, bool):
            need(value > bound if side == "minimum" else value < bound)
    step = schema.get("multipleOf")
    if isinstance(step, NUMBER) and step > 0:
        ratio = value / step
        need(math.isfinite(ratio) and math.isclose(ratio, round(ratio), rel_tol=1e-12, abs_tol=1e-9))


def same(one: Any, other: Any) -> bool:
    """Equality of JSON: 1 is 1.0, and true is not 1."""
    match one:
        case bool() | None | str():
            return type(one) is type(other) and bool(one == other)
        case list():
            return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
        case dict():
            return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return not isinstance(other, bool) and bool(one == other)


IS_OF: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "number": lambda value: isinstance(value, NUMBER) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, NUMBER) and not isinstance(value, bool) and value == math.floor(value),
}


def is_of(value: Any, stated: Any) -> bool:
    kinds = stated if isinstance(stated, list) else [stated]
    return any(kind not in IS_OF or IS_OF[kind](value) for kind in kinds if isinstance(kind, str))
