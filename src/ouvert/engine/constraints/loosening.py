"""Where llguidance refuses a schema that nobody promised to keep: the places it is about, made wider until it does not.

llguidance says what it cannot do, but not where. So every schema inside the schema is tried alone, the innermost
first, and one that is refused is made wider, a little before altogether.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from ouvert.engine.constraints.schemas import NAMED, ONE, ROW, pointer

# What is left of a schema that is made wider by half: what its members are.
STRUCTURE = NAMED | ONE | ROW | {"type", "required", "$ref", "const", "enum", "$schema", "$id"}
PARTS = ("$defs", "definitions", "$schema")
MOST_PLACES = 500
LONGEST = 2.0  # seconds for all tries

Refusal = Callable[[Mapping[str, Any]], str]


def widened(schema: dict[str, Any], refusal: Refusal) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The schema with what llguidance refuses left out, and what that was, with its place. Changes the one given.

    `refusal(schema)` says why it cannot be compiled; nothing, if it can. Where no place inside it is at fault, or
    trying all takes too long, the whole becomes its type.
    """
    if not (reason := refusal(schema)):
        return schema, ()
    until, notes = time.monotonic() + LONGEST, list[str]()
    for place, holder, key in islice(places(schema), MOST_PLACES):
        parts = {keyword: schema[keyword] for keyword in PARTS if keyword in schema}
        alone = {**parts, **holder[key]} if isinstance(holder[key], dict) else {}
        if time.monotonic() > until:
            break
        if not (fault := refusal(alone)) or "$ref" in fault:  # what it refers to may not be beside it here
            continue
        wider = next((each for each in wider_than(holder[key]) if not refusal({**parts, **each})), None)
        if wider is not None:
            holder[key] = wider
            notes.append(f"{place}: {fault}")
    if notes and not refusal(schema):
        return schema, tuple(notes)
    for wider in wider_than(schema):
        if not refusal(wider):
            return wider, (*notes, f"#: {reason}")
    return {}, (f"#: {reason}",)


def places(schema: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """(pointer, what holds it, under which key) of every schema in it, the innermost first; not of the whole itself."""

    def inside(value: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
        if not isinstance(value, dict):
            return
        for keyword, each in list(value.items()):
            if keyword in NAMED and isinstance(each, dict):
                for name in list(each):
                    yield from below(each, name, f"{place}/{pointer(keyword)}/{pointer(name)}")
            elif keyword in ROW and isinstance(each, list):
                for n in range(len(each)):
                    yield from below(each, n, f"{place}/{keyword}/{n}")
            elif keyword in ONE and isinstance(each, dict):
                yield from below(value, keyword, f"{place}/{keyword}")

    def below(holder: Any, key: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
        yield from inside(holder[key], place)
        yield place, holder, key

    yield from inside(schema, "#")


def wider_than(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Schemas that admit more and more than `schema` does, the nearest to it first."""
    if "oneOf" in schema and "anyOf" not in schema:
        yield {("anyOf" if keyword == "oneOf" else keyword): value for keyword, value in schema.items()}
    structure = {keyword: value for keyword, value in schema.items() if keyword in STRUCTURE}
    if structure != schema:
        yield structure
    yield {keyword: schema[keyword] for keyword in ("type", *PARTS) if keyword in schema}
