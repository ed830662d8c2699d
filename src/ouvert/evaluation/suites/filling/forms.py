"""Forms to fill: a text that states every value, the schema, and the object that is right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ouvert.evaluation.suites.generated import Turn

Schema = Mapping[str, Any]
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
TRUTH: Schema = {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Form:
    """What is read, what it has to become, and by which schema."""

    text: str
    value: Mapping[str, Any]
    schema: Schema


def closed(properties: Mapping[str, Schema]) -> Schema:
    """The schema of an object with these fields, all of them and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def money(turn: Turn) -> tuple[float, str]:
    """A price, and how the text writes it. Never whole, so that 3 and 3.0 are no question."""
    cents = 50 * turn.draw.between(3, 60) + turn.draw.one((5, 15, 25, 35, 45))
    written = f"{cents / 100:.2f}"
    return cents / 100, written if turn.language == "en" else written.replace(".", ",")


def person(turn: Turn, data: Mapping[str, Any]) -> Form:
    """Four fields, texts and a whole number."""
    words, draw, values = data["person"], turn.draw, data["values"]
    said = {name: draw.one(values[name]) for name in ("name", "town", "job")} | {"age": draw.between(18, 89)}
    order = ("name", "age", "town", "job")
    return Form(
        draw.one(words["texts"]).format(**said),
        {words[name]: said[name] for name in order},
        closed({words[name]: WHOLE if name == "age" else TEXT for name in order}),
    )


def event(turn: Turn, data: Mapping[str, Any]) -> Form:
    """Five fields of five types: a text, one of seven words, a whole number, a price, true or false."""
    words, draw, values = data["event"], turn.draw, data["values"]
    price, written = money(turn)
    children = bool(draw.below(2))
    said = {"title": draw.one(values["event"]), "day": draw.one(values["day"]), "room": draw.between(2, 48)}
    text = draw.one(words["texts"]).format(
        **said, price=written, children=words["welcome" if children else "unwelcome"]
    )
    types = {"title": TEXT, "day": {"enum": values["day"]}, "room": WHOLE, "price": NUMBER, "children": TRUTH}
    found = said | {"price": price, "children": children}
    return Form(text, {words[name]: found[name] for name in types}, closed({words[n]: types[n] for n in types}))


def parcel(turn: Turn, data: Mapping[str, Any]) -> Form:
    """An object in the object, and a list of texts."""
    words, draw, values = data["parcel"], turn.draw, data["values"]
    said = {name: draw.one(values[name]) for name in ("name", "street", "town")} | {"number": draw.between(2, 99)}
    things = draw.some(values["thing"], draw.between(2, 3))
    order = ("name", "street", "number", "town")
    recipient = {words[name]: said[name] for name in order}
    return Form(
        draw.one(words["texts"]).format(**said, contents=words["joined"].join(things)),
        {words["recipient"]: recipient, words["contents"]: things},
        closed({
            words["recipient"]: closed({words[name]: WHOLE if name == "number" else TEXT for name in order}),
            words["contents"]: {"type": "array", "items": TEXT},
        }),
    )  # fmt: skip


def order(turn: Turn, data: Mapping[str, Any]) -> Form:
    """A list of objects, and a truth about all of them."""
    words, draw, values = data["order"], turn.draw, data["values"]
    paid = bool(draw.below(2))
    lines, written = [], []
    for product in draw.some(values["thing"], draw.between(2, 4)):
        quantity = draw.between(2, 19)
        price, said = money(turn)
        lines.append({words["product"]: product, words["quantity"]: quantity, words["price"]: price})
        written.append(words["line"].format(quantity=quantity, product=product, price=said))
    text = draw.one(words["texts"]).format(
        lines=words["joined"].join(written), paid=words["is_paid" if paid else "not_paid"]
    )
    line = closed({words["product"]: TEXT, words["quantity"]: WHOLE, words["price"]: NUMBER})
    return Form(
        text,
        {words["lines"]: lines, words["paid"]: paid},
        closed({words["lines"]: {"type": "array", "items": line}, words["paid"]: TRUTH}),
    )


FORMS: Mapping[str, Callable[[Turn, Mapping[str, Any]], Form]] = {
    "person": person,
    "event": event,
    "parcel": parcel,
    "order": order,
}


def described(schema: Schema, types: Mapping[str, str], depth: int = 0) -> list[str]:
    """The fields of a form, a line each, for whoever has to fill it without seeing the schema."""
    lines: list[str] = []
    for name, kind in schema["properties"].items():
        within = kind.get("items", kind)
        if "enum" in kind:
            said = f"{types['of']} {', '.join(kind['enum'])}"
        else:
            said = types[within["type"] + ("" if within is kind else "s")]
        lines.append(f"{'  ' * depth}- {name}: {said}")
        if within.get("type") == "object":
            lines += described(within, types, depth + 1)
    return lines


def follows(value: Any, schema: Schema) -> bool:
    """Whether a JSON value follows a schema of the kinds above: objects closed, all fields required. Raises nothing."""
    if "enum" in schema:
        return value in schema["enum"]
    match schema["type"]:
        case "object":
            kinds = schema["properties"]
            return isinstance(value, dict) and value.keys() == kinds.keys() and all(
                follows(value[name], kinds[name]) for name in kinds
            )  # fmt: skip
        case "array":
            return isinstance(value, list) and all(follows(each, schema["items"]) for each in value)
        case "integer":
            # JSON Schema: 3.0 is an integer.
            return not isinstance(value, bool) and isinstance(value, int | float) and value == value // 1
        case "number":
            return not isinstance(value, bool) and isinstance(value, int | float)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return isinstance(value, str)


def leaves(value: Any, place: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    """Every value that holds no others, by its place. Raises nothing."""
    if isinstance(value, dict):
        inside: Sequence[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list | tuple):
        inside = list(enumerate(value))
    else:
        return {place: value}
    return {at: leaf for name, each in inside for at, leaf in leaves(each, (*place, name)).items()}
