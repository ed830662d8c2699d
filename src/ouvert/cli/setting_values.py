"""The values that settings can have, read from a text (command line, environment) or from TOML.

A reader returns the value, or raises ValueError with what it expects.
"""

import re
from collections.abc import Callable, Iterable

Reader = Callable[[object], object]  # text of the command line or environment, or a TOML value; raises ValueError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def whole(least: int, most: int | None = None) -> Reader:
    expected = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < least or (most or value) < value:
            raise ValueError(expected)
        return value

    return read


def switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value not in ("on", "off"):
        raise ValueError("on or off")
    return value == "on"


def one_of(names: Iterable[str]) -> Reader:
    choices = tuple(names)

    def read(value: object) -> str:
        if isinstance(value, bool):
            value = "on" if value else "off"
        if value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return str(value)

    return read


def text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("a text")
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list; in the environment with commas between its members."""
    if isinstance(value, str):
        value = [each.strip() for each in value.split(",") if each.strip()]
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ValueError("a list of texts")
    return tuple(value)


def gigabytes(value: object) -> float:
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        number = -1.0
    if not 0 <= number < 1e6:
        raise ValueError("a number of gigabytes, such as 2.5")
    return number


def duration(value: object) -> float:
    """Seconds: 30m, 90s, 1h, or a number of them. `forever` is infinite."""
    if value == "forever":
        return float("inf")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", value) if isinstance(value, str) else None
    if not found:
        raise ValueError("a time: 90s, 30m, 2h or forever")
    return float(found[1]) * UNITS[found[2] or "s"]


def size(value: object) -> int:
    """Bytes: 800MB, 12GB, or a number of them."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)B?", value) if isinstance(value, str) else None
    if not found:
        raise ValueError("a size: 800MB or 12GB")
    return int(float(found[1]) * 1000 ** " kMGT".index(found[2] or " "))
