"""Values read from a file, held to the types that their dataclass states: JSON and TOML take anything anywhere."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

LARGEST = 2**63  # whole numbers are smaller, as those of TOML and of most programs that read JSON


def require_field_types(value: Any) -> None:
    """`value` is a dataclass of plain values, tuples, sets, mappings, and such dataclasses.

    Raises TypeError for the first field that holds something else than it states, or a number that is not finite or
    too large.
    """
    of: Any = type(value)
    for name, stated in stated_types(of):
        if not fits(found := getattr(value, name), stated):
            raise TypeError(f"`{name}` is {found!r:.60}, expected {shown(stated)}")


@lru_cache
def stated_types(of: Any) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(of)
    return tuple((field.name, hints[field.name]) for field in fields(of))


def fits(value: Any, stated: Any) -> bool:
    """Whether `value` is of that type, as far as the types of evidence go. Raises what `require_field_types` raises."""
    origin = get_origin(stated)
    if stated is float:
        return (type(value) is float and math.isfinite(value)) or fits(value, int)
    if stated is int:
        return type(value) is int and abs(value) < LARGEST
    if origin is UnionType:
        return any(fits(value, each) for each in get_args(stated))
    if origin is Literal:
        return isinstance(value, str) and value in get_args(stated)
    if origin in (tuple, frozenset):
        return isinstance(value, origin) and all(fits(each, get_args(stated)[0]) for each in value)
    if origin is Mapping:
        return isinstance(value, Mapping)
    if is_dataclass(value):
        require_field_types(value)
    return isinstance(value, stated)


def shown(stated: Any) -> str:
    return stated.__name__ if isinstance(stated, type) and get_origin(stated) is None else str(stated)
