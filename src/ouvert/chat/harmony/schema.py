"""JSON schemas in the TypeScript-like form in which gpt-oss reads its tools.

The form is a fact of the model's training; openai/harmony's renderer defines it, quirks included, and
tests/references/chat holds this to it on generated schemas. Whatever it does not know is `any`.
"""

import json
from collections.abc import Mapping
from typing import Any

PLAIN_TYPES = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean"}


def type_of(schema: Any, indent: str = "") -> str:
    """The type a schema describes. `indent` stands before the lines of an object's members."""
    if (variants := list_at(schema, "oneOf")) is not None:
        return "".join(
            f"\n{indent} | {variant_type(each, indent)}"
            + comment(text_at(each, "description"), default_of(each, quoted=True))
            for each in variants
        )
    if names := [name for name in list_at(schema, "type") or () if isinstance(name, str)]:
        return " | ".join("number" if name == "integer" else name for name in names)
    match at(schema, "type"):
        case "object":
            return object_type(schema, indent)
        case "string" if strings := [value for value in list_at(schema, "enum") or () if isinstance(value, str)]:
            return " | ".join(f'"{value}"' for value in strings)
        case "array":
            return f"{type_of(schema['items'], indent)}[]" if "items" in schema else "Array<any>"
        case str(name) if name in PLAIN_TYPES:
            return PLAIN_TYPES[name]
    return "any"


def object_type(schema: Mapping[str, Any], indent: str) -> str:
    """`{`, a line or more for each member, `}`."""
    lines = []
    if (description := text_at(schema, "description")) is not None:
        lines.append(f"{indent}// {description}\n")
    lines.append("{\n")
    required = {name for name in list_at(schema, "required") or () if isinstance(name, str)}
    members = at(schema, "properties")
    for name, member in members.items() if isinstance(members, Mapping) else ():
        lines.append(member_lines(name, member, indent, required=name in required))
    return "".join(lines) + f"{indent}}}"


def member_lines(name: str, member: Any, indent: str, *, required: bool) -> str:
    mark = "" if required else "?"
    variants = list_at(member, "oneOf")
    above = comments_above(member, indent)
    if variants is not None:
        return above + variant_lines(name + mark, member, variants, indent)
    kind = nullable(type_of(member, indent + "    "), member)
    default = None if "oneOf" in member_keys(member) else default_of(member)
    return f"{above}{indent}{name}{mark}: {kind},{comment(default)}\n"


def comments_above(member: Any, indent: str) -> str:
    """Title, description and examples, each a comment before the member."""
    lines = ""
    if (title := text_at(member, "title")) is not None:
        lines += f"{indent}// {title}\n{indent}//\n"
    if "oneOf" not in member_keys(member) and (description := text_at(member, "description")) is not None:
        lines += f"{indent}// {description}\n"
    if examples := list_at(member, "examples"):
        lines += f"{indent}// Examples:\n"
        lines += "".join(f'{indent}// - "{example}"\n' for example in examples if isinstance(example, str))
    return lines


def variant_lines(name: str, member: Any, variants: list[Any], indent: str) -> str:
    """A member that is one of several types: description and default above, a line for each type below its name."""
    description = text_at(member, "description")
    first = text_at(variants[0], "description") if variants else None
    stands_above = description is not None and description != first
    lines = f"{indent}// {description}\n" if stands_above else ""
    if (default := default_of(member)) is not None:
        lines += f"{indent}// {default}\n"
    lines += f"{indent}{name}:\n"
    for number, variant in enumerate(variants):
        told = text_at(variant, "description")
        if told == description or (number == 0 and stands_above):
            told = None
        lines += f"{indent} | {variant_type(variant, indent)}{comment(told, default_of(variant))}\n"
    return lines + f"{indent},\n"


def variant_type(variant: Any, indent: str) -> str:
    return nullable(type_of(variant, indent + "   "), variant)


def comment(*notes: str | None) -> str:
    """A comment behind a type, of the notes there are."""
    written = [note for note in notes if note is not None]
    return f" // {' '.join(written)}" if written else ""


def default_of(schema: Any, *, quoted: bool = False) -> str | None:
    """`default: …`, or None if there is none. Texts are quoted unless they are one of an enum's."""
    if "default" not in member_keys(schema):
        return None
    default = schema["default"]
    if not isinstance(default, str):
        return f"default: {compact(default)}"
    if not list_at(schema, "enum"):
        return f'default: "{default}"'
    return f"default: {compact(default) if quoted else default}"


def nullable(kind: str, schema: Any) -> str:
    return f"{kind} | null" if at(schema, "nullable") is True and "null" not in kind else kind


def member_keys(schema: Any) -> Mapping[str, Any]:
    return schema if isinstance(schema, Mapping) else {}


def at(schema: Any, key: str) -> Any:
    return schema.get(key) if isinstance(schema, Mapping) else None


def list_at(schema: Any, key: str) -> list[Any] | None:
    value = at(schema, key)
    return list(value) if isinstance(value, list | tuple) else None


def text_at(schema: Any, key: str) -> str | None:
    value = at(schema, key)
    return value if isinstance(value, str) else None


def compact(value: Any) -> str:
    """JSON without spaces, numbers as Rust's serde_json writes them."""
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case int() if -(2**63) <= value < 2**64:
            return str(value)
        case int() | float():
            return number(float(value))
        case Mapping():
            return "{" + ",".join(f"{compact(str(key))}:{compact(each)}" for key, each in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(compact, value)) + "]"
    raise TypeError(
        f"writing a tool's schema: it holds {type(value).__name__}, expected what JSON can say; convert it first."
    )


def number(value: float) -> str:
    """A float in the shortest form, as serde_json prints it: 1e16 without a plus, 0.00001 without an exponent."""
    if value != value or value in (float("inf"), float("-inf")):
        return "null"
    mantissa, exponent, power = repr(value).partition("e")
    if not exponent:
        return mantissa
    if int(power) == -5:
        sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
        return f"{sign}0.0000{digits.replace('.', '')}"
    return f"{mantissa}e{int(power)}"
