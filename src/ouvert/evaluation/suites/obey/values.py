"""What stands in an instruction's places: how many words, which word, which beginning."""

from collections.abc import Callable, Mapping
from typing import Any

from ouvert.evaluation.suites.draw import Draw

Values = dict[str, Any]
Lists = Mapping[str, Any]  # of one language


def number(low: int, high: int) -> Callable[[Draw, Lists], Values]:
    return lambda draw, lists: {"n": draw.between(low, high)}


def nothing(draw: Draw, lists: Lists) -> Values:
    return {}


def two_of(name: str) -> Callable[[Draw, Lists], Values]:
    return lambda draw, lists: dict(zip(("first", "second"), draw.some(lists[name], 2), strict=True))


def one_of(name: str, place: str) -> Callable[[Draw, Lists], Values]:
    return lambda draw, lists: {place: draw.one(lists[name])}


VALUES: dict[str, Callable[[Draw, Lists], Values]] = {
    "words-at-most": number(6, 15),
    "words-exactly": number(4, 9),
    "sentences": number(2, 4),
    "lowercase": nothing,
    "uppercase": nothing,
    "include": two_of("include"),
    "avoid": one_of("avoid", "word"),
    "letter": lambda draw, lists: {"letter": draw.one("aious")},
    "begin": one_of("begin", "phrase"),
    "end": one_of("end", "phrase"),
    "bullets": number(3, 6),
    "numbered": number(3, 6),
    "title": nothing,
    "json": two_of("keys"),
}
