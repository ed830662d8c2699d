"""JSON schemas: what is let through is valid, what cannot be kept is refused by name and place."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from ouvert.engine import EngineError, Grammar, Vocabulary
from ouvert.engine.constraints.patterns import PatternError, translated
from ouvert.engine.constraints.schemas import DEEPEST, honoured

VOCABULARY = Vocabulary([bytes([byte]) for byte in range(256)], (), lambda text: list(text.encode()))

spec = importlib.util.spec_from_file_location("schema_oracle", Path(__file__).with_name("schema_oracle.py"))
oracle = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)

OLD = "http://json-schema.org/draft-07/schema#"
FOUR = "http://json-schema.org/draft-04/schema#"


def compiled(schema):
    return VOCABULARY.compile(Grammar.json_schema(schema))


# Every row is a text that llguidance 1.9 by itself lets through, or holds back, against the schema.
@pytest.mark.parametrize(
    ("schema", "let_through", "held_back"),
    [
        # a member a second time, its name spelled another way, past its schema
        ({"properties": {"a": {"type": "integer"}}, "type": "object"}, '{"a":1}', r'{"a":1,"\u0061":"x"}'),
        ({"patternProperties": {"^a": {"type": "integer"}}, "type": "object"}, '{"ab":1}', r'{"\u0061b":"x"}'),
        # words that belong together, torn apart by one that is applied on its own
        ({"$schema": OLD, "items": [{"type": "integer"}], "anyOf": [{}], "additionalItems": False}, "[1]", "[1,2]"),
        ({"$schema": FOUR, "minimum": 0, "anyOf": [{}], "exclusiveMinimum": True}, "1", "0"),
        ({"prefixItems": [{"type": "integer"}], "additionalItems": False}, "[1]", '["x"]'),
        # words without a meaning, which oneOf would count
        ({"$schema": OLD, "allOf": [{"type": "null", "$ref": "#/definitions/d"}],
          "definitions": {"d": {"type": "string"}}}, '"x"', "null"),
        # a bound at 0
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "0.5", "0"),
        ({"type": "number", "minimum": -0.5, "exclusiveMaximum": 0}, "-0.1", "-0"),
        ({"type": "integer", "exclusiveMinimum": 0, "maximum": 5}, "1", "0"),
        ({"$schema": FOUR, "type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 0.5}, "0.25", "0"),
        # calendars and clocks
        ({"format": "date"}, '"2024-02-29"', '"2023-02-29"'),
        ({"format": "date"}, '"2000-02-29"', '"1900-02-29"'),
        ({"format": "date"}, '"0001-01-01"', '"0000-01-01"'),
        ({"format": "date", "pattern": "^2"}, '"2024-02-29"', '"1999-02-28"'),
        ({"format": "date", "pattern": "^2", "allOf": [{"pattern": "8$"}]}, '"2024-02-28"', '"2024-02-29"'),
        ({"format": "time"}, '"23:59:59Z"', '"22:59:60Z"'),
        ({"format": "date-time"}, '"2024-02-29t10:00:00.5+01:00"', '"2023-02-29T10:00:00Z"'),
        # regular expressions: ECMA-262's meaning, not Rust's
        ({"type": "string", "pattern": "^[^a&&b]$"}, '"c"', '"a"'),
        ({"type": "string", "pattern": "^.$"}, '"é"', r'"\r"'),
        ({"type": "string", "pattern": r"^\S$"}, '"x"', '"\ufeff"'),
        ({"type": "string", "pattern": r"^\W$"}, '"-"', '"é"'),
        # bounds that no float is, or that llguidance cannot count to
        ({"type": "integer", "maximum": 2**53 + 1}, "9007199254740992", "9007199254740994"),
        ({"type": "integer", "minimum": -(2**53) - 1}, "-9007199254740992", "-9007199254740994"),
        ({"type": "integer", "maximum": 2**63 - 1, "minimum": 0}, "9223372036854774784", "9223372036854775808"),
        ({"type": "integer", "maximum": 2**64 - 1}, "5", "18446744073709551616"),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63}, "-5", "9223372036854775809"),
        ({"type": "number", "maximum": 1e300}, "0.5", "1000000000000000001"),
        ({"maximum": 10**400}, "5", "1000000000000000001"),
        # names
        ({"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}},
         '{"a":1}', '{"c":1}'),
        ({"type": "object", "propertyNames": {"pattern": "^x"}, "additionalProperties": {"type": "integer"}},
         '{"xy":1}', '{"y":1}'),
        ({"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "integer"}},
         '{"xy":1}', '{"xy":"1"}'),
        # words that say nothing
        ({"type": "object", "properties": {"p": {"type": "string", "format": "path"}}}, '{"p":"/"}', '{"p":1}'),
        ({"type": "integer", "not": False}, "1", '"1"'),
        # counts as JSON may write them
        ({"type": "string", "maxLength": 2.0}, '"ab"', '"abc"'),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Possible set:FutureWarning")  # Python's own expressions may change one day
def test_what_llguidance_would_let_through_is_held_back(schema, let_through, held_back):
    constraint = compiled(schema)
    assert oracle.accepts(constraint, let_through)
    assert not oracle.accepts(constraint, held_back)
    judge = oracle.validator(schema)
    assert judge.is_valid(oracle.value(let_through))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"properties": {"a/b": {"items": {"not": {}}}}}, "at #/properties/a~1b/items it has the keyword 'not'"),
        ({"if": {}, "then": {}}, "the keyword 'if'"),
        ({"type": "array", "uniqueItems": True}, "the keyword 'uniqueItems'"),
        ({"x-guidance": {"lenient": True}, "type": "string"}, "the keyword 'x-guidance'"),
        ({"$schema": OLD, "contentEncoding": "base64"}, "the keyword 'contentEncoding'"),
        ({"$schema": OLD, "prefixItems": []}, "'prefixItems', unknown to http://json-schema.org/draft-07/schema"),
        ({"$schema": FOUR, "const": 1}, "'const', unknown to http://json-schema.org/draft-04/schema"),
        ({"$schema": "http://example.com/mine"}, r"\$schema 'http://example.com/mine'. Expected one of http"),
        ({"items": {"$schema": OLD}}, f"at #/items it has the .schema '{OLD}'"),
        ({"type": "object", "minProperties": 2}, "minProperties 2 with 0 names required"),
        ({"const": 2**53 + 1}, "const 9007199254740993"),
        ({"enum": [[{"a": 10**400}]]}, "enum 1000"),
        ({"minimum": 10**19}, "minimum 10000000000000000000. Expected a bound up to"),
        ({"exclusiveMaximum": -(10**400)}, "exclusiveMaximum -1000"),
        ({"minimum": "3"}, "minimum '3'"),
        ({"exclusiveMinimum": True, "minimum": 1}, "exclusiveMinimum True"),
        ({"multipleOf": 0}, "multipleOf 0"),
        ({"const": "a\x01"}, "a control character in const"),
        ({"format": "regex"}, "the format 'regex'. Expected one of date, "),
        ({"pattern": r"a\bc"}, "a word boundary.*at character 3"),
        ({"pattern": 5}, "the pattern 5"),
        ({"patternProperties": {"[a": {}}}, r"at #/patternProperties it has a \[ without its \]"),
        ({"patternProperties": {"(?:a)": {}, "(a)": {}}}, "another pattern that means the same"),
        ({"$ref": "#/examples/0", "examples": [{"not": {}}]}, "a .ref to '#/examples/0', where no schema stands"),
        ({"$ref": 3}, "the .ref 3"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "a .ref to another document"),
        ({"$schema": OLD, "$ref": "#/definitions/a", "$id": "x", "definitions": {"a": {}}}, "an .id beside a .ref"),
        ({"type": "float"}, "at # it has the type 'float'. Expected one of array, "),
        ({"properties": {"a": 5}}, "at #/properties/a it has 5. Expected a schema"),
        ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, "alternatives of oneOf that may hold at once"),
        ({"$ref": "http://example.com/other.json"}, "a .ref to another document: 'http://example.com/other.json'"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_by_name_and_place(schema, message):
    with pytest.raises(EngineError, match=message):
        compiled(schema)


def test_schemas_too_deep_are_refused_with_both_numbers():
    schema = {}
    for _ in range(5000):
        schema = {"items": schema}
    with pytest.raises(
        EngineError,
        match=rf"(a schema {DEEPEST + 1} deep in others.*{DEEPEST} at most)|(goes deeper.*{DEEPEST} schemas)",
    ):
        compiled(schema)
    shallow = {"type": "integer"}
    for _ in range(DEEPEST):
        shallow = {"type": "array", "items": shallow}
    assert oracle.accepts(compiled(shallow), "[" * DEEPEST + "1" + "]" * DEEPEST)


def test_words_that_only_describe_are_no_hindrance():
    schema = {"title": "T", "description": "d", "default": 3, "examples": [{"not": 1}], "deprecated": True,
              "$comment": "if", "type": "object", "uniqueItems": False, "additionalProperties": False,
              "properties": {"not": {"type": "integer", "format": "int32"}, "$ref": {"type": "null"}}}  # fmt: skip
    assert oracle.accepts(compiled(schema), '{"not":1,"$ref":null}')
    assert list(honoured(schema)["properties"]) == ["not", "$ref"]


def test_members_come_in_the_order_the_schema_names_them():
    schema = {"allOf": [{"properties": {"a": {}}}], "type": "object", "properties": {"b": {}}, "required": ["a", "b"]}
    assert oracle.accepts(compiled(schema), '{"a":1,"b":1}')
    assert not oracle.accepts(compiled(schema), '{"b":1,"a":1}')


@pytest.mark.parametrize("block", range(4))
def test_texts_of_schemas_at_random_are_valid(block):
    texts = 0
    for seed in range(block * 60, block * 60 + 60):
        schema = oracle.RandomSchema(seed).schema
        try:
            constraint = compiled(schema)
        except EngineError:
            continue
        for n in range(2):
            text = oracle.wander(constraint, n)
            if text is not None:
                texts += 1
                assert list(oracle.validator(schema).iter_errors(oracle.value(text))) == [], (schema, text)
    assert texts > 30


# --- patterns ---------------------------------------------------------------------------------------------------------

WORDS = ["", "a", "b", "ab", "aab", "c", "1", "a1", "x.y", "x-y", "-", "&", "a b", "\t", "é", "[", "~~", "Z_9"]


@pytest.mark.parametrize(
    "pattern",
    ["a", "^a*$", "^(?:a|b)+$", "^(?<n>a)b", "^[a-c]$", "^[^a-c]$", r"^[\-a]$", "^[-a]$", "^[a-]$", r"x\.y", "x.y",
     "^[a&&b]$", "^[[a]$", "^[~~]+$", r"^\d$", r"^\D$", r"^\w+$", r"^\s$", r"\S", r"^[\d\w]+$", r"^[^\W]+$",
     r"^\x61\u0062$", r"^\t$", "^a{1}$", "^a{1,}b$", "^a{1,2}?b", "^$", "", "a|^b$", "(a|b)$", r"^\[$", r"[\]]|&"],
)  # fmt: skip
def test_patterns_mean_what_they_mean_elsewhere(pattern):
    constraint = compiled({"type": "string", "pattern": pattern})
    names = compiled({"type": "object", "patternProperties": {pattern: True}, "additionalProperties": False})
    pythonic = pattern.replace("?<n>", "?P<n>").replace("$", r"\Z").replace("&&", "&").replace("[[", r"[\[")
    python = re.compile(pythonic.replace("~~", "~"), re.ASCII)
    for word in WORDS:
        matches = python.search(word) is not None
        spelled = json.dumps(word, ensure_ascii=False)
        accepted = oracle.accepts(constraint, spelled)
        assert accepted is matches or (matches and word == "é"), word  # less may be let through where dialects differ
        assert oracle.accepts(names, f"{{{spelled}:0}}") is matches, word


def test_names_are_told_apart_as_ecma_262_says_and_contents_hold_what_all_agree_on():
    for word in ("\ufeff", "\u2028"):  # white space, but to ASCII; the first is none to Python
        schema = {"patternProperties": {r"^\s$": True}, "additionalProperties": False, "type": "object"}
        assert oracle.accepts(compiled(schema), f'{{"{word}":0}}')
        assert not oracle.accepts(compiled({"pattern": r"^\S$", "type": "string"}), f'"{word}"')
        assert not oracle.accepts(compiled({"pattern": r"^[^\s]$", "type": "string"}), f'"{word}"')
    assert not oracle.accepts(compiled({"pattern": r"^\s$", "type": "string"}), '"\ufeff"')
    assert not oracle.accepts(compiled({"pattern": "^.$", "type": "string"}), '"\u2028"')


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a(?=b)", "look-around.*at character 3"),
        ("(?<!b)a", "look-around"),
        (r"(a)\1", "back-reference"),
        (r"\Ba", "word boundary"),
        ("(?i)a", "a kind of group"),
        ("a{,3}", "begins no quantifier"),
        ("*a", "a quantifier behind nothing"),
        ("a**", "a quantifier behind nothing"),
        ("(*)", "a quantifier behind nothing"),
        ("a)", "closes nothing"),
        ("(a", "without its \\)"),
        ("[a", "without its \\]"),
        ("a]", "closes nothing"),
        ("[]", "an empty class"),
        (r"[a-\d]", "no character"),
        (r"\c", "no meaning"),
        (r"\ud800", "half a character"),
        ("\\", "no meaning"),
        (r"\01", "back-reference|no meaning"),
    ],
)
def test_a_piece_without_one_meaning_is_refused_with_its_place(pattern, message):
    with pytest.raises(PatternError, match=message):
        translated(pattern)


def tagged(value, **more):
    return {"type": "object", "properties": {"v": {"const": value}, **more}, "required": ["v"]}


@pytest.mark.parametrize(
    ("schema", "let_through", "held_back"),
    [
        ({"oneOf": [{"const": 1}, {"const": 2}]}, ["1", "2"], ["3"]),
        ({"oneOf": [{"enum": [1, True]}, {"enum": [None, 2.5]}]}, ["1", "true", "null", "2.5"], ["false", "2"]),
        ({"type": "integer", "oneOf": [{"const": 1, "title": "A"}, {"const": 2}]}, ["2"], ["true"]),
        ({"oneOf": [tagged(1), tagged(True), tagged("1")]}, ['{"v":1}', '{"v":true}', '{"v":"1"}'], ['{"v":2}', "1"]),
        (
            {"$defs": {"A": tagged(1), "B": tagged(2)}, "oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]},
            ['{"v":1}', '{"v":2}'],
            ['{"v":3}'],
        ),
    ],
)
def test_alternatives_of_one_of_are_told_apart_by_constants_of_every_kind(schema, let_through, held_back):
    grammar = compiled(schema)
    assert [text for text in let_through if not oracle.accepts(grammar, text)] == []
    assert [text for text in held_back if oracle.accepts(grammar, text)] == []


@pytest.mark.parametrize(
    "alternatives",
    [
        [{"const": 1}, {"enum": [1.0, 2]}],
        [
            {"properties": {"v": {"const": 1}}, "required": ["v"]},
            {"properties": {"v": {"const": 2}}, "required": ["v"]},
        ],
        [{**tagged(1), "required": []}, {**tagged(2), "required": []}],
        [tagged(1), {**tagged(2), "properties": {"v": {"type": "integer"}}}],
    ],
)
def test_alternatives_of_one_of_that_share_a_value_are_refused(alternatives):
    with pytest.raises(EngineError, match="alternatives of oneOf that may hold at once"):
        compiled({"oneOf": alternatives})
