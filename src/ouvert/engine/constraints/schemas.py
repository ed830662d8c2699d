"""What of a JSON schema can be held to, written so that llguidance holds to all of it.

llguidance refuses most of what it has not built, but not all, and it reads some of the rest more widely than JSON
Schema does. A text of the grammar must be valid under the schema, always; so what would be read too widely is
rewritten where a narrower wording exists, and refused by name and place where none does. That an answer may be a
little less than the schema allows (no date in the year 0, no second 60) is no harm. Facts: docs/formats/constraints.md.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ouvert.engine.constraints.patterns import PatternError, translated
from ouvert.engine.interface import EngineError

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
# llguidance applies these one after the other and reads what stands between two of them as a schema of its own:
# keywords that change each other's meaning (items and additionalItems) must not be torn apart by them.
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

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
KINDS = {bool: "boolean", str: "string", type(None): "null"}
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
# Of JSON Schema itself (2020-12, Validation 7.3; "color" and "style" of older drafts describe). Others are annotations.
DEFINED_FORMATS = FORMATS | {
    *("idn-email", "idn-hostname", "uri-reference", "iri", "iri-reference", "uri-template"),
    *("json-pointer", "relative-json-pointer", "regex"),
}
# What llguidance can count to, as floats.
LARGEST_INTEGER = 9223372036854774784
LARGEST_NUMBER = 10**18


@dataclass(frozen=True, slots=True)
class Fault:
    """What stands at a place and cannot be kept. Without `keywords` there, the rest can."""

    keywords: tuple[str, ...]
    what: str
    remedy: str
    wrong: bool = False  # no JSON schema has that; else it is one that no grammar here can follow


def honoured(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema whose every grammar's text is valid under the one given. Raises EngineError for what cannot be kept."""
    return SchemaWalk(schema, strict=True).schema


def loosened(schema: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The same for a schema that nobody promised to keep: what cannot be kept is left out at its own place.

    Also what that was, each with its place as a JSON pointer. Nothing else becomes wider.
    """
    walk = SchemaWalk(schema, strict=False)
    return walk.schema, tuple(dict.fromkeys(walk.loosened))


def of_objects(schema: Mapping[str, Any], *, strict: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The schema with its root held to objects, as a tool's arguments are; and what of it that contradicted.

    Raises EngineError, if `strict`, for a root that no object satisfies.
    """
    stated = schema.get("type", "object")
    if stated == "object" or (isinstance(stated, list) and "object" in stated):
        return {**schema, "type": "object"}, ()
    fault = f"the type {stated!r:.80} where arguments are an object"
    if strict:
        raise refusal("#", fault, "Put the value into a property of an object.")
    parts = {keyword: schema[keyword] for keyword in ("$schema", "$defs", "definitions") if keyword in schema}
    return {**parts, "type": "object"}, (f"#: {fault}",)


def refusal(place: str, what: str, remedy: str) -> EngineError:
    return EngineError(f"reading a JSON schema: at {place} it has {what}. {remedy}")


def refuse_wrong(schema: Mapping[str, Any]) -> None:
    """Raise EngineError for what is no JSON schema, or refers to nothing: nobody can mean that, strict or not."""
    walk = SchemaWalk(schema, strict=False)
    if walk.wrong:
        raise walk.wrong[0]


class SchemaWalk:
    """One walk through a schema: `schema` is what came out, `loosened` what is missing in it (nothing, if strict)."""

    def __init__(self, schema: Mapping[str, Any], *, strict: bool) -> None:
        self.strict, self.loosened, self.wrong = strict, list[str](), list[EngineError]()
        stated = schema.get("$schema", DRAFTS[-1])
        if not isinstance(stated, str) or stated.rstrip("#") not in DRAFTS:
            self.fault("#", f"$schema {stated!r:.120}", f"Expected one of {', '.join(DRAFTS)}, or none.")
            stated = DRAFTS[-1]
            schema = {keyword: value for keyword, value in schema.items() if keyword != "$schema"}
        self.draft = stated.rstrip("#")
        self.root = schema
        self.places: set[str] = set()  # of all schemas, as JSON pointers
        self.refs: list[tuple[str, dict[str, Any]]] = []  # (where, the schema that came out there)
        self.schema = self.one(schema, "#", 0)
        for place, kept in self.refs:
            if (fault := self.wrong_target(kept["$ref"])) is not None:
                self.fault(place, *fault, wrong=True)
                del kept["$ref"]

    def fault(self, place: str, what: str, remedy: str, *, wrong: bool = False) -> None:
        """Raises EngineError, or remembers what is left out."""
        if self.strict:
            raise refusal(place, what, remedy)
        self.loosened.append(f"{place}: {what}")
        if wrong:
            self.wrong.append(refusal(place, what, remedy))

    @property
    def old(self) -> bool:
        """Drafts in which keywords beside $ref mean nothing and contents may be asserted: 4, 6 and 7."""
        return self.draft in DRAFTS[:3]

    def any(self, schema: Any, place: str, depth: int) -> Any:
        if isinstance(schema, Mapping):
            return self.one(schema, place, depth + 1)
        self.places.add(place)
        if isinstance(schema, bool):
            return schema
        self.fault(place, f"{schema!r:.80}", "Expected a schema: an object, true or false.", wrong=True)
        return True

    def one(self, schema: Mapping[str, Any], place: str, depth: int) -> dict[str, Any]:
        self.places.add(place)
        if depth > DEEPEST:
            remedy = f"Expected {DEEPEST} at most: name parts in $defs, use $ref."
            self.fault(place, f"a schema {depth} deep in others", remedy)
            return {}
        stated = dict(schema)
        for fault in self.faults(stated, place):
            self.fault(place, fault.what, fault.remedy, wrong=fault.wrong)
            for keyword in fault.keywords:
                stated.pop(keyword, None)
        kept: dict[str, Any] = {}
        for keyword, value in stated.items():
            inner = f"{place}/{pointer(keyword)}"
            if keyword in NAMED and isinstance(value, Mapping):
                kept[keyword] = {
                    name: self.any(each, f"{inner}/{pointer(name)}", depth) for name, each in value.items()
                }
            elif keyword in ROW and isinstance(value, list):
                kept[keyword] = [self.any(each, f"{inner}/{n}", depth) for n, each in enumerate(value)]
            elif keyword in ONE and not isinstance(value, list):
                kept[keyword] = self.any(value, inner, depth)
            elif keyword in COUNTS and isinstance(value, float) and value.is_integer():
                kept[keyword] = int(value)
            else:
                kept[keyword] = value
        kept = self.reworded(kept, place)
        if "$ref" in kept:
            self.refs.append((place, kept))
        return kept

    def names(self, kept: dict[str, Any], place: str) -> None:
        """patternProperties with their patterns as Rust reads them."""
        found: dict[str, Any] = {}
        for pattern, value in kept["patternProperties"].items():
            # Not narrowed: a name that matches less often is less often described.
            try:
                name = translated(pattern, narrow=False)
                problem = f"{pattern!r:.80} and another pattern that means the same" if name in found else None
            except PatternError as fault:
                problem = str(fault)
            if problem is not None:
                self.fault(f"{place}/patternProperties", problem, "Write it otherwise, or leave it out.")
                del kept["patternProperties"]
                kept.pop("additionalProperties", None)  # it was about the names that no pattern describes
                return
            found[name] = value
        kept["patternProperties"] = found

    def pattern(self, kept: dict[str, Any], place: str) -> None:
        pattern = kept["pattern"]
        try:
            if not isinstance(pattern, str):
                raise PatternError(f"the pattern {pattern!r:.80}, expected a text")
            kept["pattern"] = translated(pattern, narrow=True)
        except PatternError as problem:
            self.fault(place, str(problem), "Write it without, or leave the pattern out.")
            del kept["pattern"]

    # --- what cannot be kept ------------------------------------------------------------------------------------------

    def faults(self, schema: dict[str, Any], place: str) -> Iterator[Fault]:
        """Everything that must not stand here, one after the other, each without those before it."""
        follow = "No grammar can follow it: leave it out and check answers for it."
        for keyword in [keyword for keyword in schema if keyword in REFUSED]:
            if not holds_always(keyword, schema[keyword]) and not (
                keyword == "propertyNames" and self.told_names(schema)
            ):
                yield Fault((keyword,), f"the keyword {keyword!r}", follow)
        if self.old:
            for keyword in sorted({"contentEncoding", "contentMediaType"} & schema.keys()):
                yield Fault((keyword,), f"the keyword {keyword!r}", follow)
        if "const" in schema and self.draft == DRAFTS[0]:
            yield Fault(("const",), f"the keyword 'const', unknown to {self.draft}", "Write an `enum` of one.")
        if "prefixItems" in schema and self.draft != DRAFTS[-1]:
            what = f"the keyword 'prefixItems', unknown to {self.draft}"
            yield Fault(("prefixItems",), what, "Write a list of `items`.")
        if place != "#" and str(schema.get("$schema", self.draft)).rstrip("#") != self.draft:
            what = f"the $schema {schema['$schema']!r:.80}"
            yield Fault(("$schema",), what, f"Expected {self.draft} all through.")
        for keyword, most in MOST_NAMES.items():
            if isinstance(schema.get(keyword), Mapping) and len(schema[keyword]) > most:
                remedy = f"Expected {most} at most: group them in objects of their own."
                yield Fault((keyword, "additionalProperties"), f"{len(schema[keyword])} {keyword}", remedy)
        if "$ref" in schema and not isinstance(schema["$ref"], str):
            yield Fault(
                ("$ref",), f"the $ref {schema['$ref']!r:.80}", "Expected a text: where a schema stands.", wrong=True
            )
        if self.old and "$ref" in schema and {"$id", "id"} & schema.keys():
            remedy = "It would have no meaning in this draft: leave it out."
            yield Fault(("$id", "id"), "an $id beside a $ref", remedy)
        yield from self.wrong_numbers(schema)
        yield from wrong_texts(schema)
        yield from wrong_counts(schema)
        yield from unknown_formats(schema)

    def wrong_numbers(self, schema: Mapping[str, Any]) -> Iterator[Fault]:
        exactly = "Expected a number that a float can be exactly."
        for keyword in sorted(BOUNDS & schema.keys()):
            bound = schema[keyword]
            if isinstance(bound, bool) and keyword.startswith("exclusive") and self.draft == DRAFTS[0]:
                continue
            if isinstance(bound, bool) or not isinstance(bound, int | float):
                yield Fault((keyword,), f"{keyword} {bound!r:.80}", exactly, wrong=True)
            elif keyword == "multipleOf" and (not exact(bound) or bound <= 0):
                what = "Expected a number above 0." if bound <= 0 else exactly
                yield Fault((keyword,), f"multipleOf {bound!r:.80}", what, wrong=bound <= 0)
            elif (bound if keyword.endswith("inimum") else -bound) > LARGEST_NUMBER and keyword != "multipleOf":
                yield Fault((keyword,), f"{keyword} {str(bound)[:80]}", "Expected a bound up to 10 to the power of 18.")
        for keyword in sorted({"const", "enum"} & schema.keys()):
            numbers = (value for value in plain_values(schema[keyword]) if isinstance(value, int | float))
            if (wrong := next((value for value in numbers if not exact(value)), None)) is not None:
                yield Fault((keyword,), f"{keyword} {str(wrong)[:80]}", exactly)

    def told_names(self, schema: Mapping[str, Any]) -> bool:
        """Whether propertyNames can be said with the keywords for members: it is an enum or a pattern, alone."""
        names = schema["propertyNames"]
        if not isinstance(names, Mapping) or {"properties", "patternProperties"} & schema.keys():
            return False
        said = names.keys() - {"type", "title", "description", "$comment"}
        if said == {"enum"}:
            return isinstance(names["enum"], list) and all(isinstance(name, str) for name in names["enum"])
        return said == {"pattern"} and names.get("type", "string") == "string"

    def wrong_target(self, target: str) -> tuple[str, str] | None:
        """llguidance follows a pointer anywhere; only what stands where schemas stand has been read here."""
        meant = "Put the schema it means into $defs."
        if target.startswith(("http://json-schema.org/", "https://json-schema.org/")):  # llguidance carries these
            return f"a $ref to another document: {target!r:.120}", meant
        fragment = unquote(target.partition("#")[2])
        known = "#" + fragment in self.places or any(place.endswith(fragment) for place in self.places)
        if fragment.startswith("/") and not known:
            return f"a $ref to {target!r:.120}, where no schema stands", meant
        if not self.strict and not target.startswith("#"):
            return f"a $ref to another document: {target!r:.120}", meant
        return None

    # --- what is written otherwise ------------------------------------------------------------------------------------

    def reworded(self, kept: dict[str, Any], place: str) -> dict[str, Any]:
        """The same with llguidance's reading made narrow enough."""
        for keyword in REFUSED & kept.keys():  # only those that hold for every value are left
            if keyword != "propertyNames" or not self.told_names(kept):
                del kept[keyword]
        if "propertyNames" in kept:
            members_by_name(kept)
        if "patternProperties" in kept:
            self.names(kept, place)
        if self.draft == DRAFTS[-1] and "prefixItems" in kept:
            kept.pop("additionalItems", None)  # means nothing, but makes llguidance forget prefixItems
        if self.old and "$ref" in kept:  # beside it nothing has a meaning
            return {keyword: value for keyword, value in kept.items() if keyword in NAMED or keyword == "$ref"}
        if "oneOf" in kept and "anyOf" not in kept and self.told_apart(kept["oneOf"]):
            kept = {("anyOf" if keyword == "oneOf" else keyword): value for keyword, value in kept.items()}
        move_inwards(kept)
        self.move_from_zero(kept, "Minimum", max)
        self.move_from_zero(kept, "Maximum", min)
        if "pattern" in kept:
            self.pattern(kept, place)
        form = kept.pop("format", None)
        if form in FORMATS - OUR_FORMATS.keys():
            kept["format"] = form
        elif form in OUR_FORMATS:
            meant = OUR_FORMATS[form]
            if "pattern" in kept:
                kept["allOf"] = [*kept.get("allOf", ()), {"pattern": meant}]
            else:
                kept["pattern"] = meant
        return in_one_piece(kept)

    def told_apart(self, alternatives: Any) -> bool:
        """Whether no value can be two of them: each is of constants of its own, or an object with a member that is.
        llguidance sees that of texts only; with numbers, true or null it would refuse the oneOf."""
        if not isinstance(alternatives, list) or not all(isinstance(each, Mapping) for each in alternatives):
            return False
        meant = [self.followed(each) for each in alternatives]
        if disjoint([constants(each) for each in meant]):
            return True
        for each in meant:
            lists = isinstance(each.get("properties"), Mapping) and isinstance(each.get("required"), list)
            if each.get("type") != "object" or not lists:
                return False
        names = [set(map(str, each["required"])) & each["properties"].keys() for each in meant]
        tags = set.intersection(*names) if names else set()
        return any(disjoint([constants(self.followed(each["properties"][tag])) for each in meant]) for tag in tags)

    def followed(self, schema: Any) -> Mapping[str, Any]:
        """What a schema that is only a $ref to a definition refers to, or the schema itself."""
        for _ in range(DEEPEST):
            target = schema.get("$ref") if isinstance(schema, Mapping) else None
            kind, _, name = target.removeprefix("#/").partition("/") if isinstance(target, str) else ("", "", "")
            definitions = self.root.get(kind) if kind in ("$defs", "definitions") else None
            if not isinstance(definitions, Mapping) or name not in definitions:
                break
            schema = definitions[name]
        return schema if isinstance(schema, Mapping) else {}

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


def constants(schema: Mapping[str, Any]) -> list[tuple[str, Any]] | None:
    """The values a schema allows at most, each once and with its kind; None where it does not list plain ones."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or not all(
        value is None or isinstance(value, str | int | float) for value in values
    ):
        return None
    return list(dict.fromkeys((KINDS.get(type(value), "number"), value) for value in values))  # 1 is 1.0, not true


def disjoint(rows: list[list[tuple[str, Any]] | None]) -> bool:
    found = [value for row in rows if row is not None for value in row]
    return None not in rows and len(set(found)) == len(found)


def pointer(name: str) -> str:
    """A name as a piece of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def holds_always(keyword: str, value: Any) -> bool:
    """Whether a keyword that no grammar can follow says nothing here: every value is valid under it."""
    match keyword:
        case "uniqueItems":
            return value is False
        case "propertyNames":  # names are texts
            return value is True or (isinstance(value, Mapping) and value in ({}, {"type": "string"}))
        case "unevaluatedProperties" | "unevaluatedItems":
            return value is True or bool(value == {})
        case "dependencies" | "dependentRequired" | "dependentSchemas":
            return bool(value == {})
        case "not":
            return value is False
    return False


def members_by_name(kept: dict[str, Any]) -> None:
    """propertyNames that lists names, or has a pattern for them, said with the keywords for members."""
    names, value = kept.pop("propertyNames"), kept.pop("additionalProperties", True)
    if "enum" in names:
        kept["properties"] = dict.fromkeys(names["enum"], value)
    else:
        kept["patternProperties"] = {names["pattern"]: value}
    kept["additionalProperties"] = False


def move_inwards(kept: dict[str, Any]) -> None:
    """Bounds that no float is, or that llguidance cannot count to, become the nearest inside that it can."""
    largest = LARGEST_INTEGER if kept.get("type") == "integer" else LARGEST_NUMBER
    for keyword, inwards in (("minimum", 1), ("exclusiveMinimum", 1), ("maximum", -1), ("exclusiveMaximum", -1)):
        bound = kept.get(keyword)
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            continue
        if -inwards * bound > largest:
            kept[keyword] = -inwards * largest
        elif not exact(bound):
            near = float(bound) if abs(bound) < largest else math.copysign(largest, bound)
            inside = near >= bound if inwards > 0 else near <= bound
            kept[keyword] = near if inside else math.nextafter(near, inwards * math.inf)


def wrong_texts(schema: Mapping[str, Any]) -> Iterator[Fault]:
    kinds = schema["type"] if isinstance(schema.get("type"), list) else [schema.get("type", "object")]
    if unknown := [kind for kind in kinds if not isinstance(kind, str) or kind not in TYPES]:
        yield Fault(("type",), f"the type {unknown[0]!r:.80}", f"Expected one of {', '.join(TYPES)}.", wrong=True)
    for keyword in sorted({"const", "enum"} & schema.keys()):
        if any(isinstance(value, str) and UNSPELLABLE.search(value) for value in plain_values(schema[keyword])):
            remedy = "Expected text that can be written without \\u."
            yield Fault((keyword,), f"a control character in {keyword}", remedy)


def wrong_counts(schema: Mapping[str, Any]) -> Iterator[Fault]:
    """A name that no schema names may be repeated in a text, and is one member then: such cannot be counted."""
    least, required = schema.get("minProperties", 0), schema.get("required", ())
    told = len(set(map(str, required))) if isinstance(required, list) else 0
    if isinstance(least, int | float) and least > told + 1:
        what = f"minProperties {least} with {told} names required"
        remedy = f"Grammars can tell at most {told + 1} members apart here: require more names, or leave it out."
        yield Fault(("minProperties",), what, remedy)


def unknown_formats(schema: Mapping[str, Any]) -> Iterator[Fault]:
    """Formats of JSON Schema that are not held to. Any other name describes, as the standard says, and says no more."""
    form, kind = schema.get("format"), schema.get("type", "string")
    if not (kind == "string" or (isinstance(kind, list) and "string" in kind)):
        return
    if isinstance(form, str) and form in DEFINED_FORMATS - FORMATS:
        yield Fault(
            ("format",), f"the format {form!r:.80}", f"Expected one of {', '.join(sorted(FORMATS))}; or leave it out."
        )


def in_one_piece(schema: dict[str, Any]) -> dict[str, Any]:
    """Keywords that are not applied on their own, together where `properties` is (members keep their order)."""
    plain = [keyword for keyword in schema if keyword not in APPLIED]
    if not plain:
        return schema
    at = "properties" if "properties" in schema else plain[0]
    rows: list[str] = []
    for keyword in schema:
        if keyword == at:
            rows += plain
        elif keyword in APPLIED:
            rows.append(keyword)
    return {keyword: schema[keyword] for keyword in rows}


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
