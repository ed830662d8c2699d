"""How values look when a template writes them out, with the owner of every character.

As Python's own str, repr, %, str.format and json.dumps, which tests hold them to.
"""

import json
import re
from collections.abc import Callable, ItemsView, KeysView, Mapping, ValuesView
from string import Formatter
from typing import Any

from ouvert.chat.owned_text import (
    TEMPLATE,
    UNTRACED,
    OwnedText,
    between,
    coarse,
    common_owner,
    joined,
    plain,
    runs_of,
    whole,
)

VIEWS: tuple[tuple[Any, str], ...] = ((KeysView, "dict_keys"), (ItemsView, "dict_items"), (ValuesView, "dict_values"))
PERCENT_FIELD = re.compile(
    r"%(?:\((?P<key>[^)]*)\))?(?P<flags>[#0\- +]*)(?P<width>\d*)(?:\.(?P<precision>\d*))?[hlL]?(?P<kind>[a-zA-Z%])"
)


def own(text: str) -> OwnedText:
    """Text that this program writes: brackets, commas, None."""
    return whole(text, TEMPLATE)


def written(value: Any) -> OwnedText:
    """What str(value) is."""
    if isinstance(value, OwnedText):
        return value
    if isinstance(value, str):
        return OwnedText(plain(value), runs_of(value))
    return described(value)


def described(value: Any) -> OwnedText:
    """What repr(value) is, for values that templates make of JSON's; of others, what str(value) is."""
    shows: Any = type(value).__repr__
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool | int | float):
        return whole(repr(value), common_owner([value]))
    if shows is list.__repr__:
        return joined([own("["), *between([described(each) for each in value], own(", ")), own("]")])
    if shows is tuple.__repr__:
        closing = own(",)" if len(value) == 1 else ")")
        return joined([own("("), *between([described(each) for each in value], own(", ")), closing])
    if shows is dict.__repr__:
        pairs = [joined((described(key), own(": "), described(each))) for key, each in value.items()]
        return joined([own("{"), *between(pairs, own(", ")), own("}")])
    for view, name in VIEWS:
        if isinstance(value, view):
            return joined((own(f"{name}("), described(list(value)), own(")")))
    return whole(str(value), UNTRACED)


def quoted(text: str) -> OwnedText:
    """What repr(text) is. Each owner's part is escaped for the quotation marks that the whole has."""
    truth = repr(plain(text))
    mark, other = truth[0], "'" if truth[0] == '"' else '"'
    pieces = [own(mark)]
    at = 0
    for length, owner in runs_of(text):
        # A mark of the other kind behind it makes Python choose the same marks for the part.
        pieces.append(whole(repr(plain(text)[at : at + length] + other)[1:-2], owner))
        at += length
    found = joined([*pieces, own(mark)])
    return found if plain(found) == truth else coarse(truth, text)


def percent_format(text: str, arguments: Any) -> str:
    """text % arguments."""
    truth = text % arguments if hasattr(text, "__html__") else plain(text) % arguments
    pieces: list[str] = []
    values = iter(arguments if isinstance(arguments, tuple) else (arguments,))
    at = 0
    try:
        for field in PERCENT_FIELD.finditer(plain(text)):
            pieces.append(part_of(text, at, field.start()))
            at = field.end()
            if field["kind"] == "%":
                pieces.append(part_of(text, field.start(), field.start() + 1))
            else:
                pieces.append(
                    percent_piece(field, arguments[field["key"]] if field["key"] is not None else next(values))
                )
    except (StopIteration, TypeError, KeyError):  # such as % itself reads otherwise; `truth` says what is written
        return coarse(truth, text, arguments)
    found = joined([*pieces, part_of(text, at, len(text))])
    return found if plain(found) == plain(truth) else coarse(truth, text, arguments)


def percent_piece(field: re.Match[str], value: Any) -> str:
    """What one field becomes."""
    if field["kind"] not in "sr":
        precision = "" if field["precision"] is None else "." + field["precision"]
        return coarse(f"%{field['flags']}{field['width']}{precision}{field['kind']}" % (value,), value)
    piece: str = written(value) if field["kind"] == "s" else described(value)
    if field["precision"] is not None:
        piece = piece[: int(field["precision"] or 0)]
    width = int(field["width"] or 0)
    return piece.ljust(width) if "-" in field["flags"] else piece.rjust(width)


def part_of(text: str, start: int, stop: int) -> str:
    return text.cut(start, stop) if isinstance(text, OwnedText) else plain(text)[start:stop]


def brace_format(text: str, truth: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> OwnedText:
    """The owners of `truth`, which is text.format(*args, **kwargs); no field reaches into a value."""
    owner = common_owner([text])
    pieces: list[str] = []
    number = 0
    for literal, name, spec, conversion in Formatter().parse(plain(text)):
        pieces.append(whole(literal, owner))
        if name is None:
            continue
        if name == "":
            name, number = str(number), number + 1
        value = args[int(name)] if name.isdigit() else kwargs[name]
        piece = described(value) if conversion == "r" else written(value)
        pieces.append(coarse(format(piece if conversion else value, spec), value) if spec else piece)
    found = joined(pieces)
    return found if plain(found) == plain(truth) else coarse(truth, text, args, dict(kwargs))


class JsonWriter:
    """json.dumps. `charge` is told of the characters before they are kept."""

    def __init__(
        self,
        charge: Callable[[int], None],
        *,
        ensure_ascii: bool,
        indent: int | str | None,
        separators: tuple[str, str] | None,
        sort_keys: bool,
    ) -> None:
        comma, colon = separators if separators is not None else (", " if indent is None else ",", ": ")
        self.comma, self.colon = literal(comma), literal(colon)
        self.indent = None if indent is None else literal(indent if isinstance(indent, str) else " " * indent)
        self.escape = json.encoder.encode_basestring_ascii if ensure_ascii else json.encoder.encode_basestring
        self.sort_keys, self.charge = sort_keys, charge

    def text(self, value: Any) -> OwnedText:
        """Raises TypeError for what JSON cannot say."""
        pieces: list[str] = []
        self._write(value, 0, pieces.append)
        return joined(pieces)

    def _write(self, value: Any, depth: int, put: Callable[[str], None]) -> None:
        if isinstance(value, str):
            put(self._string(value))
        elif value is None or isinstance(value, bool | int | float):
            put(whole(scalar(value), common_owner([value])))
        elif isinstance(value, list | tuple):
            if not value:
                put(own("[]"))
                return
            for number, each in enumerate(value):
                put(self.comma if number else own("["))
                self._line(depth + 1, put)
                self._write(each, depth + 1, put)
            self._line(depth, put)
            put(own("]"))
        elif isinstance(value, dict):
            self._write_object(value, depth, put)
        else:
            raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")

    def _write_object(self, value: dict[Any, Any], depth: int, put: Callable[[str], None]) -> None:
        if not value:
            put(own("{}"))
            return
        for number, (key, each) in enumerate(sorted(value.items()) if self.sort_keys else value.items()):
            put(self.comma if number else own("{"))
            self._line(depth + 1, put)
            put(self._key(key))
            put(self.colon)
            self._write(each, depth + 1, put)
        self._line(depth, put)
        put(own("}"))

    def _line(self, depth: int, put: Callable[[str], None]) -> None:
        if self.indent is not None:
            self.charge(1 + len(self.indent) * depth)
            put(own("\n"))
            put(self.indent * depth)

    def _key(self, key: Any) -> OwnedText:
        if isinstance(key, str):
            return self._string(key)
        if key is None or isinstance(key, bool | int | float):
            return joined((own('"'), whole(scalar(key), common_owner([key])), own('"')))
        raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")

    def _string(self, text: str) -> OwnedText:
        pieces = [own('"')]
        at = 0
        for length, owner in runs_of(text):
            pieces.append(whole(self.escape(plain(text)[at : at + length])[1:-1], owner))
            at += length
        return joined([*pieces, own('"')])


def literal(text: str) -> str:
    return text if isinstance(text, OwnedText) else own(text)


def scalar(value: Any) -> str:
    """A number, true, false or null, as JSON has them."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(float.__repr__(value), float.__repr__(value))
