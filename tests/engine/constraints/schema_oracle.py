"""What JSON Schema itself says: jsonschema, made exact and given ECMA-262's expressions; and schemas at random."""

import itertools
import json
import random
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import jsonschema
from jsonschema import validators

DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}

END = r"\Z"


def multiple_of(validator, factor, instance, schema):
    """jsonschema divides floats, and finds that 0.3 is no multiple of 0.1."""
    if validator.is_type(instance, "number") and abs(Fraction(instance)) % Fraction(factor):
        yield jsonschema.ValidationError(f"{instance} is no multiple of {factor}")


def validator(schema: dict[str, Any]):
    """Validates what `value` reads, formats too, under the draft that $schema names."""
    kind = validators.validator_for(schema)
    exact = json.loads(json.dumps(in_python(schema)), parse_float=decimal)
    return validators.extend(kind, {"multipleOf": multiple_of})(exact, format_checker=kind.FORMAT_CHECKER)


def in_python(schema: Any) -> Any:
    """Patterns of names as ECMA-262 means them: ASCII digits and letters, and an end that is the end."""
    if isinstance(schema, list):
        return [in_python(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        word: {f"(?a:{pattern.replace('$', END)})": in_python(each) for pattern, each in value.items()}
        if word == "patternProperties"
        else in_python(value)
        for word, value in schema.items()
    }


def value(text: str) -> Any:
    return json.loads(text, parse_float=decimal)


def decimal(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of ten digits and more
        return float(text)


def accepts(constraint, text: str) -> bool:
    """Whether a grammar over a vocabulary that begins with the 256 bytes lets a text through, byte by byte."""
    state = constraint.begin()
    for byte in text.encode():
        if byte not in state.allowed():
            return False
        state.advance(byte)
    return state.accepting


def spellings(instance: Any, most: int = 200) -> Iterator[str]:
    """JSON texts of a value, its members in every order, as it stands first."""
    return (json.dumps(each, ensure_ascii=False) for each in itertools.islice(orders(instance), most))


def orders(instance: Any) -> Iterator[Any]:
    if isinstance(instance, dict):
        for names in itertools.permutations(instance):
            inner = [list(itertools.islice(orders(instance[name]), 24)) for name in names]
            for values in itertools.product(*inner):
                yield dict(zip(names, values, strict=True))
    elif isinstance(instance, list):
        yield from map(list, itertools.product(*[list(itertools.islice(orders(each), 24)) for each in instance]))
    else:
        yield instance


# --- schemas at random ------------------------------------------------------------------------------------------------

PATTERNS = ["^a", "b$", "^[a-c]{2,3}$", "a|b", "^(ab|c)+$", "[^a]", r"\d", r"^\w+$", "^.{2}$", "^a?b*$", "a.c"]
PATTERNS += [r"^[^\d]$", "(^a|b$)", "^$"]
SPACES = [r"\s", r"^\S\D$", r"[^\s]", r"^[^\w]{2}$"]  # dialects differ: for contents only, which may be less
NUMBERS = [0, 1, -1, 2, 3, 10, 0.5, -0.5, 1.5, 100, 1e-3, 2.25, -7, 1e10, 0.1, 99.99, 7.0]
VALUES = [0, 1, True, False, None, "a", "ab", "b", [], [1], {"a": 1}, {}, "é", 'a"b\\', 1.5, -3, [1, "a"]]
NAMES = ["a", "b", "c", "ab", "é", 'q"', "x y"]
FORMATS = ["date", "time", "date-time", "ipv4", "ipv6", "uuid", "email", "duration", "hostname", "uri"]


class RandomSchema:
    """`schema`: keywords of all kinds thrown together, in any order, under some draft."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.draft = self.random.choice([*DRAFTS, "draft2020-12"])
        self.schema = {"$schema": DRAFTS[self.draft], **self.one(3)}
        self.schema["definitions"] = {"d": self.leaf()}

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def any(self, depth: int) -> Any:
        if self.draft != "draft4" and self.maybe(0.1):
            return self.maybe(0.6)
        return self.one(depth)

    def one(self, depth: int) -> dict[str, Any]:
        choice = self.random.random()
        if depth <= 0 or choice < 0.4:
            schema = self.leaf()
        elif choice < 0.6:
            schema = self.array(depth)
        elif choice < 0.85:
            schema = self.object(depth)
        else:
            schema = self.one(depth - 1) if self.maybe(0.5) else {}
            schema[self.random.choice(["allOf", "anyOf", "oneOf"])] = [self.any(depth - 1) for _ in range(2)]
        if self.maybe(0.15):
            schema[self.random.choice(["allOf", "anyOf", "oneOf"])] = [self.any(depth - 1) for _ in range(2)]
        if depth > 0 and self.maybe(0.1):
            schema["$ref"] = "#/definitions/d"
        items = list(schema.items())
        if self.maybe(0.5):
            self.random.shuffle(items)
        return dict(items)

    def leaf(self) -> dict[str, Any]:
        choice = self.random.randrange(5)
        if choice == 0:
            return self.text()
        if choice == 1:
            return self.number()
        if choice == 2 and self.draft != "draft4":
            return {"const": self.random.choice(VALUES)}
        if choice <= 3:
            return {"enum": self.random.sample(VALUES, self.random.randrange(1, 4))}
        return {"type": self.random.choice(["boolean", "null", "string", "integer", ["boolean", "null"]])}

    def text(self) -> dict[str, Any]:
        schema: dict[str, Any] = {}
        if self.maybe(0.9):
            schema["type"] = self.random.choice(["string", ["string", "null"]])
        for word, most in (("minLength", 4), ("maxLength", 6)):
            if self.maybe(0.4):
                schema[word] = self.random.randrange(most)
        if self.maybe(0.5):
            schema["pattern"] = self.random.choice(PATTERNS + SPACES)
        if self.maybe(0.2):
            schema["format"] = self.random.choice(FORMATS)
        return schema

    def number(self) -> dict[str, Any]:
        schema: dict[str, Any] = {}
        if self.maybe(0.8):
            schema["type"] = self.random.choice(["number", "integer", ["integer", "string"]])
        for end in ("imum", "imum"):
            for side in ("min", "max"):
                if self.maybe(0.2):
                    schema[side + end] = self.random.choice(NUMBERS)
                    if self.draft == "draft4":
                        schema[f"exclusive{side.title()}{end}"] = self.maybe(0.5)
                elif self.draft != "draft4" and self.maybe(0.2):
                    schema[f"exclusive{side.title()}{end}"] = self.random.choice(NUMBERS)
        if self.maybe(0.3):
            schema["multipleOf"] = self.random.choice([1, 2, 3, 0.5, 0.1, 0.25, 7, 1.5, 0.01])
        return schema

    def array(self, depth: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "array"} if self.maybe(0.8) else {}
        tuples = "prefixItems" if self.draft == "draft2020-12" else "items"
        others = "items" if self.draft == "draft2020-12" else "additionalItems"
        if self.maybe(0.5):
            schema[tuples] = [self.any(depth - 1) for _ in range(self.random.randrange(1, 3))]
            if self.maybe(0.5):
                schema[others] = self.any(depth - 1)
        else:
            schema["items"] = self.any(depth - 1)
        for word, most in (("minItems", 3), ("maxItems", 4)):
            if self.maybe(0.4):
                schema[word] = self.random.randrange(most)
        return schema

    def object(self, depth: int) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object"} if self.maybe(0.8) else {}
        if self.maybe(0.8):
            names = self.random.sample(NAMES, self.random.randrange(1, 4))
            schema["properties"] = {name: self.any(depth - 1) for name in names}
        if self.maybe(0.5):
            schema["required"] = self.random.sample(NAMES, self.random.randrange(1, 3))
        if self.maybe(0.3):
            schema["patternProperties"] = {self.random.choice(PATTERNS): self.any(depth - 1)}
        if self.maybe(0.6):
            schema["additionalProperties"] = self.random.choice([False, False, self.any(depth - 1)])
        for word, most in (("minProperties", 3), ("maxProperties", 4)):
            if self.maybe(0.2):
                schema[word] = self.random.randrange(most)
        return schema


def wander(constraint, seed: int, most: int = 400) -> str | None:
    """A text of the grammar that ends soon, and before that is anything; None if it got too long."""
    chooser, state, written = random.Random(seed), constraint.begin(), bytearray()
    while not state.finished:
        if len(written) == most:
            return None
        if state.accepting and chooser.random() < 0.5:
            break
        allowed = [token for token in state.allowed().tolist() if token < 256]
        chance = chooser.random()
        closing = [byte for byte in allowed if byte in b'"]}']
        plain = [byte for byte in allowed if byte in b"ab019-.cdeZ:T@{[,"]
        wanted = closing if closing and chance < 0.35 else plain if plain and chance < 0.9 else allowed
        written.append(chooser.choice(wanted))
        state.advance(written[-1])
    return written.decode()
