"""What of a JSON schema can be held to, written so that llguidance holds to all of it.

llguidance refuses most of what it has not built, but not all, and it reads some of the rest more widely than JSON
Schema does. A text of the grammar must be valid under the schema, always; so what would be read too widely is
rewritten where a narrower wording exists, and refused by name and place where none does. That an answer may be a
little less than the schema allows (no date in the year 0, no second 60) is no harm. Facts: docs/formats/constraints.md.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from ouvert.engine.patterns import PatternError, translated
from ouvert.engine.waist import EngineError

DEEPEST = 50  # schemas inside schemas; llguidance's reader of JSON stops at 128 brackets

MOST_NAMES = {"properties": 1000, "patternProperties": 100}  # of one object; 4,000 and 500 took 11 s and 36 s

# Where schemas stand in a schema.
ONE = frozenset({"additionalProperties", "items", "additionalItems"})
ROW = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions"})
# Keywords that say something about a text and that no grammar here can follow.
REFUSED = (
    {"not", "if", "then", "else", "dependencies", "dependentRequired", "dependentSchemas"}
    | {"contains", "minContains", "maxContains", "uniqueItems", "unevaluatedItems"}
    | {"propertyNames", "unevaluatedProperties"}
    | {"$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary"}
    | {"x-guidance"}  # llguidance's own options, one of which makes it ignore all of these
)
# llguidance applies these one after the other and reads what stands between two of them as a schema of its own: words
# that change each other's meaning (items and additionalItems) must not be torn apart by them.
APPLIED = frozenset({"const", "enum", "allOf", "anyOf", "oneOf", "$ref"})
COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
DRAFTS = (
    "http://json-schema.org/draft-04/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-07/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
)

BESIDE_ZERO = 1e-9
# Characters of a JSON text that would have to be written with \\u, which grammars here never do.
UNSPELLABLE = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f]")

LEAP = "(?:0[48]|[2468][048]|[13579][26])"
YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"  # many calendars, Python's too, have no year 0
DATE = (
    f"(?:{YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|"
    f"02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{{2}}{LEAP}|{LEAP}00)-02-29)"
)
HOUR = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
TIME = f"{HOUR}:[0-5][0-9](?:[.][0-9]+)?(?:[zZ]|[-+]{HOUR})"  # a second 60 is valid in a few minutes of a century only
OUR_FORMATS = {"date": f"^{DATE}$", "time": f"^{TIME}$", "date-time": f"^{DATE}[tT]{TIME}$"}
FORMATS = frozenset({*OUR_FORMATS, "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})


def honoured(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema whose every grammar's text is valid under the one given. Raises EngineError for what cannot be kept."""
    return Honouring(schema).schema


def refusal(place: str, what: str, remedy: str) -> EngineError:
    return EngineError(f"reading a JSON schema: at {place} it has {what}. {remedy}")


class Honouring:
    """One walk through a schema: `schema` is what came out."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        stated = schema.get("$schema", DRAFTS[-1])
        if not isinstance(stated, str) or stated.rstrip("#") not in DRAFTS:
            raise refusal("#", f"$schema {stated!r:.120}", f"Expected one of {', '.join(DRAFTS)}, or none.")
        self.draft = stated.rstrip("#")
        self.places: set[str] = set()  # of all schemas, as JSON pointers
        self.refs: list[tuple[str, str]] = []  # (where, to what)
        self.schema = self.one(schema, "#", 0)
        for place, target in self.refs:
            self.check_target(place, target)

    @property
    def old(self) -> bool:
        """Drafts in which words beside $ref mean nothing and contents may be asserted: 4, 6 and 7."""
        return self.draft in DRAFTS[:3]

    def any(self, schema: Any, place: str, depth: int) -> Any:
        if isinstance(schema, bool):
            self.places.add(place)
            return schema
        if isinstance(schema, Mapping):
            return self.one(schema, place, depth + 1)
        raise refusal(place, f"{schema!r:.80}", "Expected a schema: an object, true or false.")

    def one(self, schema: Mapping[str, Any], place: str, depth: int) -> dict[str, Any]:
        if depth > DEEPEST:
            raise refusal(
                place, f"a schema {depth} deep in others", f"Expected {DEEPEST} at most: name parts in $defs, use $ref."
            )
        self.places.add(place)
        self.check(schema, place)
        kept: dict[str, Any] = {}
        for word, value in schema.items():
            inner = f"{place}/{word.replace('~', '~0').replace('/', '~1')}"
            if word in NAMED and isinstance(value, Mapping):
                if len(value) > (most := MOST_NAMES.get(word, len(value))):
                    raise refusal(
                        place, f"{len(value)} {word}", f"Expected {most} at most: group them in objects of their own."
                    )
                named = {
                    name: self.any(each, f"{inner}/{name.replace('~', '~0').replace('/', '~1')}", depth)
                    for name, each in value.items()
                }
                kept[word] = self.names(named, inner) if word == "patternProperties" else named
            elif word in ROW and isinstance(value, list):
                kept[word] = [self.any(each, f"{inner}/{n}", depth) for n, each in enumerate(value)]
            elif word in ONE and not isinstance(value, list):
                kept[word] = self.any(value, inner, depth)
            elif word in COUNTS and isinstance(value, float) and value.is_integer():
                kept[word] = int(value)
            else:
                kept[word] = value
        return self.reworded(kept, place)

    def names(self, named: dict[str, Any], place: str) -> dict[str, Any]:
        """patternProperties with their patterns as Rust reads them."""
        found: dict[str, Any] = {}
        for pattern, value in named.items():
            # Not narrowed: a name that matches less often is less often described.
            name = self.pattern(pattern, place, narrow=False)
            if name in found:
                raise refusal(place, f"{pattern!r:.80} and another pattern that means the same", "Keep one of them.")
            found[name] = value
        return found

    def pattern(self, pattern: Any, place: str, *, narrow: bool) -> str:
        if not isinstance(pattern, str):
            raise refusal(place, f"the pattern {pattern!r:.80}", "Expected a text: a regular expression.")
        try:
            return translated(pattern, narrow=narrow)
        except PatternError as problem:
            raise refusal(place, str(problem), "Write it without, or leave the pattern out.") from None

    def check(self, schema: Mapping[str, Any], place: str) -> None:
        """Everything that is refused for standing here."""
        for word in schema:
            if word == "uniqueItems" and schema[word] is False:
                continue
            if word in REFUSED:
                raise refusal(
                    place, f"the keyword {word!r}", "No grammar can follow it: leave it out and check answers for it."
                )
        if self.old and (said := {"contentEncoding", "contentMediaType"} & schema.keys()):
            raise refusal(
                place, f"the keyword {min(said)!r}", "No grammar can follow it: leave it out and check answers for it."
            )
        if "const" in schema and self.draft == DRAFTS[0]:
            raise refusal(place, f"the keyword 'const', unknown to {self.draft}", "Write an `enum` of one.")
        if "prefixItems" in schema and self.draft != DRAFTS[-1]:
            raise refusal(place, f"the keyword 'prefixItems', unknown to {self.draft}", "Write a list of `items`.")
        if place != "#" and str(schema.get("$schema", self.draft)).rstrip("#") != self.draft:
            raise refusal(place, f"the $schema {schema['$schema']!r:.80}", f"Expected {self.draft} all through.")
        if "$ref" in schema:
            if not isinstance(schema["$ref"], str):
                raise refusal(place, f"the $ref {schema['$ref']!r:.80}", "Expected a text: where a schema stands.")
            if self.old and {"$id", "id"} & schema.keys():
                raise refusal(place, "an $id beside a $ref", "It would have no meaning in this draft: leave it out.")
            self.refs.append((place, schema["$ref"]))
        for word in BOUNDS & schema.keys():
            self.check_bound(schema, word, place)
        for word in {"const", "enum"} & schema.keys():
            for value in plain_values(schema[word]):
                if isinstance(value, str) and UNSPELLABLE.search(value):
                    raise refusal(
                        place, f"a control character in {word}", "Expected text that can be written without \\u."
                    )
                if isinstance(value, int | float) and not exact(value):
                    raise refusal(place, f"{word} {value}", "Expected a number that a float can be exactly.")
        self.check_counts(schema, place)
        self.check_format(schema, place)

    def check_bound(self, schema: Mapping[str, Any], word: str, place: str) -> None:
        bound = schema[word]
        if isinstance(bound, bool) and word.startswith("exclusive") and self.draft == DRAFTS[0]:
            return
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not exact(bound):
            raise refusal(place, f"{word} {bound!r:.80}", "Expected a number that a float can be exactly.")
        if word == "multipleOf" and bound <= 0:
            raise refusal(place, f"multipleOf {bound!r}", "Expected a number above 0.")

    def check_counts(self, schema: Mapping[str, Any], place: str) -> None:
        """A name that no schema names may be repeated in a text, and is one member then: such cannot be counted."""
        least, required = schema.get("minProperties", 0), schema.get("required", ())
        told = len(set(map(str, required))) if isinstance(required, list) else 0
        if isinstance(least, int | float) and least > told + 1:
            raise refusal(
                place,
                f"minProperties {least} with {told} names required",
                f"Grammars can tell at most {told + 1} members apart here: require more names, or leave it out.",
            )

    def check_format(self, schema: Mapping[str, Any], place: str) -> None:
        form, kind = schema.get("format"), schema.get("type", "string")
        if form is None or not (kind == "string" or (isinstance(kind, list) and "string" in kind)):
            return
        if form not in FORMATS:
            raise refusal(
                place, f"the format {form!r:.80}", f"Expected one of {', '.join(sorted(FORMATS))}; or leave it out."
            )

    def reworded(self, kept: dict[str, Any], place: str) -> dict[str, Any]:
        """The same with llguidance's reading made narrow enough."""
        kept.pop("uniqueItems", None)  # it is false here
        if self.draft == DRAFTS[-1] and "prefixItems" in kept:
            kept.pop("additionalItems", None)  # means nothing, but makes llguidance forget prefixItems
        if self.old and "$ref" in kept:  # beside it nothing has a meaning
            return {word: value for word, value in kept.items() if word in NAMED or word == "$ref"}
        self.move_from_zero(kept, "Minimum", max)
        self.move_from_zero(kept, "Maximum", min)
        if "pattern" in kept:
            kept["pattern"] = self.pattern(kept["pattern"], place, narrow=True)
        if kept.get("format") in OUR_FORMATS:
            meant = OUR_FORMATS[kept.pop("format")]
            if "pattern" in kept:
                kept["allOf"] = [*kept.get("allOf", ()), {"pattern": meant}]
            else:
                kept["pattern"] = meant
        return in_one_piece(kept)

    def move_from_zero(self, kept: dict[str, Any], end: str, stricter: Callable[[float, float], float]) -> None:
        """llguidance lets 0 through for "above 0 and at most 0.5": the bound becomes a number beside 0."""
        exclusive, inclusive = f"exclusive{end}", end.lower()
        given = kept.get(exclusive)
        if given is True:  # draft 4
            given = kept.get(inclusive)
        if given == 0 and given is not False:
            del kept[exclusive]
            beside = BESIDE_ZERO if end == "Minimum" else -BESIDE_ZERO
            kept[inclusive] = stricter(kept.get(inclusive, beside), beside)

    def check_target(self, place: str, target: str) -> None:
        """llguidance follows a pointer anywhere; only what stands where schemas stand has been read here."""
        if target.startswith(("http://json-schema.org/", "https://json-schema.org/")):  # llguidance carries these
            raise refusal(place, f"a $ref to another document: {target!r:.120}", "Put the schema it means into $defs.")
        fragment = unquote(target.partition("#")[2])
        if fragment.startswith("/") and not any(known.endswith(fragment) for known in self.places):
            raise refusal(
                place, f"a $ref to {target!r:.120}, where no schema stands", "Put the schema it means into $defs."
            )


def in_one_piece(schema: dict[str, Any]) -> dict[str, Any]:
    """Keywords that are not applied on their own, together where `properties` is (members keep their order)."""
    plain = [word for word in schema if word not in APPLIED]
    if not plain:
        return schema
    at = "properties" if "properties" in schema else plain[0]
    rows: list[str] = []
    for word in schema:
        if word == at:
            rows += plain
        elif word in APPLIED:
            rows.append(word)
    return {word: schema[word] for word in rows}


def plain_values(value: Any) -> Iterator[Any]:
    """The texts and numbers of a JSON value."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from plain_values(each)
    elif isinstance(value, list):
        for each in value:
            yield from plain_values(each)
    elif not isinstance(value, bool):
        yield value


def exact(number: int | float) -> bool:
    """Whether a float can be this number, the only kind llguidance computes with."""
    try:
        return math.isfinite(number) and float(number) == number
    except OverflowError:
        return False
