"""Schemas that nobody promised to keep: what cannot be kept is left out at its own place, and everything else holds."""

import importlib.util
import json
from pathlib import Path

import pytest

from ouvert.engine import EngineError, Grammar, matches, of_objects, refuse_wrong
from ouvert.engine.constraints.grammar import bytes_alone

spec = importlib.util.spec_from_file_location("schema_oracle", Path(__file__).with_name("schema_oracle.py"))
oracle = importlib.util.module_from_spec(spec)
spec.loader.exec_module(oracle)

KEPT = {"k": {"enum": ["a", "b"]}}
AMBIGUOUS = {"oneOf": [{"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"b": {}}}]}


def beside(**more):
    return {"type": "object", "properties": {**KEPT, **more}, "required": ["k"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("inner", "what", "let_through", "held_back"),
    [
        ({"type": "array", "items": {"enum": ["a"]}, "uniqueItems": True},
         "the keyword 'uniqueItems'", '["a","a"]', '["b"]'),
        ({"type": "integer", "not": {"const": 3}}, "the keyword 'not'", "3", '"3"'),
        ({"type": "string", "pattern": r"^(?!x)\w"}, "look-around", '"x"', "1"),
        ({"type": "string", "format": "regex"}, "the format 'regex'", '"["', "1"),
        ({"type": "integer", "multipleOf": -1}, "multipleOf -1", "3", '"3"'),
        ({"type": "object", "minProperties": 5}, "minProperties 5 with 0 names required", "{}", "[]"),
        ({"$ref": "#/$defs/Gone"}, "a $ref to '#/$defs/Gone', where no schema stands", "3", "}"),
        ({"$ref": "https://example.com/x.json"}, "a $ref to another document", "3", "}"),
        ({"type": "string", "x-guidance": {"lenient": True}}, "the keyword 'x-guidance'", '"a"', "3"),
        (5, "5", "[1]", "}"),
        ({"type": "integer", "minimum": "3"}, "minimum '3'", "2", '"3"'),
        (AMBIGUOUS, "alternatives of oneOf", '{"a":1}', "3"),
        ({"type": "array", "items": AMBIGUOUS}, "alternatives of oneOf", '[{"a":1}]', "[3]"),
        ({"type": "object", "patternProperties": {"(?=a)": {"type": "integer"}}, "additionalProperties": False},
         "look-around", '{"x":"y"}', "[]"),
        ({"type": "object", "patternProperties": {"^a": {"type": "integer"}, "b$": {"type": "string"}}},
         "", '{"ab":1}', "[]"),
    ],
)  # fmt: skip
def test_one_keyword_loosens_its_own_place_alone(inner, what, let_through, held_back):
    schema = beside(x=inner)
    with pytest.raises(EngineError):
        bytes_alone().compile(Grammar.json_schema(schema))
    constraint = bytes_alone().compile(Grammar.json_schema(schema, strict=False))
    [note] = constraint.loosened
    assert note.startswith("#/properties/x")
    assert what in note
    assert oracle.accepts(constraint, f'{{"k":"a","x":{let_through}}}')
    assert not oracle.accepts(constraint, f'{{"k":"a","x":{held_back}}}')
    assert not oracle.accepts(constraint, f'{{"k":"c","x":{let_through}}}')
    assert not oracle.accepts(constraint, f'{{"x":{let_through}}}')
    assert not oracle.accepts(constraint, f'{{"k":"a","x":{let_through},"y":1}}')


def test_several_faults_are_several_notes_and_what_can_be_kept_has_none():
    schema = beside(a={"type": "array", "uniqueItems": True}, b={**AMBIGUOUS}, c={**AMBIGUOUS}, d={"not": {}})
    constraint = bytes_alone().compile(Grammar.json_schema(schema, strict=False))
    assert [note.partition(":")[0] for note in constraint.loosened] == [f"#/properties/{name}" for name in "adbc"]
    assert not oracle.accepts(constraint, '{"k":"c"}')
    sound = beside(p={"type": "string", "format": "path"}, m={"type": "object", "propertyNames": {"type": "string"}})
    for strict in (True, False):
        assert bytes_alone().compile(Grammar.json_schema(sound, strict=strict)).loosened == ()


@pytest.mark.parametrize(
    "schema", [{"$schema": "http://example.com/mine", "type": "object"}, {"type": "object", "not": {}}]
)
def test_faults_of_the_whole_are_at_its_root(schema):
    constraint = bytes_alone().compile(Grammar.json_schema(schema, strict=False))
    assert constraint.loosened[0].startswith("#: ")
    assert oracle.accepts(constraint, '{"a":1}')
    assert not oracle.accepts(constraint, "[]")


@pytest.mark.parametrize(
    "wrong", [{"type": "text"}, {"$ref": "#/$defs/Gone"}, {"$ref": 1}, {"minimum": "3"}, {"multipleOf": 0}, 5]
)
def test_what_is_no_schema_is_refused_though_nobody_is_strict(wrong):
    with pytest.raises(EngineError, match="at #/properties/x it has"):
        refuse_wrong(beside(x=wrong))
    refuse_wrong(beside(x={"not": {}, "uniqueItems": True}))


def test_arguments_are_objects_whatever_a_schema_says():
    for schema in (
        {},
        {"properties": {}},
        {"type": ["object", "null"]},
        {"anyOf": [{"type": "null"}, {"type": "object"}]},
    ):
        held, wrong = of_objects(schema, strict=True)
        constraint = bytes_alone().compile(Grammar.json_schema(held))
        assert wrong == ()
        assert oracle.accepts(constraint, "{}")
        assert not oracle.accepts(constraint, "null")
    held, [note] = of_objects({"type": "string", "pattern": "a"}, strict=False)
    assert (held, note) == ({"type": "object"}, "#: the type 'string' where arguments are an object")


# --- numbers ----------------------------------------------------------------------------------------------------------


def longest(schema, written, digits="9"):
    """What a model that goes on writing digits comes to."""
    state = bytes_alone().compile(Grammar.json_schema(schema)).begin()
    for byte in written.encode():
        state.advance(byte)
    while ord(digits) in state.allowed().tolist():
        assert len(written) < 400
        state.advance(ord(digits))
        written += digits
    return written


@pytest.mark.parametrize(
    ("schema", "written", "expected"),
    [
        ({"type": "integer"}, "", "9" * 18),
        ({"type": "integer"}, "-", "-" + "9" * 18),
        ({"type": "array", "items": {"type": "integer"}}, "[12,3", "[12,3" + "9" * 18),
        ({"type": "number"}, "", "9" * 18),
        ({"type": "number"}, "0.", "0." + "9" * 17),
        ({"type": "number"}, "1e", "1e99"),
        ({"type": "number"}, "1.5e-", "1.5e-99"),
        ({"type": "number", "minimum": 0, "maximum": 1}, "0.", "0." + "9" * 17),
        ({}, '{"a":[{"b 1\\\\":"\\"7","c":', '{"a":[{"b 1\\\\":"\\"7","c":' + "9" * 18),
        ({"type": "object"}, '{"n":', '{"n":' + "9" * 18),
        ({"type": "integer", "minimum": 10, "maximum": 20}, "1", "19"),
    ],
)
def test_a_number_ends_where_readers_of_json_can_take_no_more(schema, written, expected):
    assert longest(schema, written) == expected
    json.loads("0" if expected[-1:] == "-" else expected[expected.rfind(":") + 1 :].lstrip("[").split(",")[-1])


def test_digits_in_texts_and_the_largest_whole_numbers_stay_free():
    assert len(longest({"type": "string", "maxLength": 60}, '"')) == 61
    assert longest({"type": "integer"}, "922337203685477579") == "9223372036854775799"
    assert longest({"type": "integer"}, "922337203685477580", "8") == "922337203685477580"
    assert longest({"type": "integer"}, "1", "0") == "1" + "0" * 18


# --- patterns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("^a+$", "aaa", True),
        ("^a+$", "aab", False),
        ("b", "abc", True),
        ("^(a+)+$", "a" * 5000 + "b", False),
        ('^[é"\\\\]+$', 'é"\\', True),
        (r"(?!a)b", "anything", True),
        ("[", "anything", True),
    ],
)
def test_a_pattern_is_matched_in_linear_time_or_not_at_all(pattern, text, expected):
    assert matches(pattern, text) is expected
