"""Values as TOML 1.0, the form that plans and recipes are written in: what tomllib reads back is what was given."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

BARE = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(values: Mapping[str, Any]) -> str:
    """Strings, booleans, numbers, lists and mappings; a None is left out. A list of mappings becomes an array of
    tables. Raises ValueError for a number that is not finite, TypeError for what TOML does not have."""
    present = {name: value for name, value in values.items() if value is not None}
    tables = {name: value for name, value in present.items() if is_array_of_tables(value)}
    lines = [f"{key(name)} = {inline(value)}" for name, value in present.items() if name not in tables]
    for name, rows in tables.items():
        for row in rows:
            inner = [f"{key(field)} = {inline(value)}" for field, value in row.items() if value is not None]
            lines += ["", f"[[{key(name)}]]", *inner]
    return "\n".join(lines) + "\n"


def is_array_of_tables(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(each, Mapping) for each in value)


def key(name: str) -> str:
    return name if BARE.fullmatch(name) else text(name)


def text(value: str) -> str:
    # JSON's escapes are TOML's, but for what JSON leaves as it is (DEL) or writes as two halves (outside the BMP).
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def inline(value: Any) -> str:
    """A value as it stands behind its key. Raises as `as_toml` does."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return text(value)
        case int():
            return str(value)
        case float():
            if not math.isfinite(value):
                raise ValueError(f"writing TOML: {value} is not a finite number. Leave it out.")
            return repr(value)
        case Mapping():
            inner = (f"{key(name)} = {inline(each)}" for name, each in value.items() if each is not None)
            return "{" + ", ".join(inner) + "}"
        case Sequence() | frozenset() | set():
            each_in_order = sorted(value) if isinstance(value, set | frozenset) else value
            return "[" + ", ".join(map(inline, each_in_order)) + "]"
        case _:
            raise TypeError(f"writing TOML: {value!r:.80} is a {type(value).__name__}, which TOML does not have.")
