"""Arguments beside their schemas: as jsonschema says."""

import itertools

import jsonschema
import pytest

from ouvert.assistant.arguments import follows

LIST = {"$defs": {"list": {"type": ["object", "null"], "properties": {"next": {"$ref": "#/$defs/list"}}}}}
SCHEMAS = (
    {},
    True,
    False,
    {"type": "integer"},
    {"type": ["number", "null"]},
    {"const": 1},
    {"const": {"a": [1, None]}},
    {"enum": [True, "a", 0, []]},
    {"minimum": 1, "exclusiveMaximum": 3},
    {"multipleOf": 0.5},
    {"multipleOf": 2},
    {"minLength": 1, "maxLength": 2},
    {"pattern": "^[ab]+$"},
    {"items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
    {"prefixItems": [{"type": "integer"}], "items": False},
    {"contains": {"type": "string"}, "maxContains": 1},
    {"uniqueItems": True},
    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"properties": {"a": {}}, "additionalProperties": False},
    {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
    {"propertyNames": {"enum": ["a", "b"]}, "minProperties": 1, "maxProperties": 1},
    {"dependentRequired": {"a": ["b"]}},
    {"dependentSchemas": {"a": {"required": ["b"]}}},
    {"allOf": [{"type": "object"}, {"required": ["b"]}]},
    {"anyOf": [{"type": "string"}, {"required": ["a"], "type": "object"}]},
    {"oneOf": [{"type": "integer"}, {"minimum": 2}]},
    {"not": {"type": "object"}},
    {"if": {"type": "integer"}, "then": {"minimum": 2}, "else": {"type": "string"}},
    {**LIST, "$ref": "#/$defs/list"},
    {"$defs": {"a/b": {"type": "string"}}, "$ref": "#/$defs/a~1b"},
)
VALUES = (
    *(None, True, False, 0, 1, 1.0, 2, 3, 0.3, 2.5, -1, 10**400, 1e300, "", "a", "ab", "abc", "é"),
    *([], [1], [1, 1.0], ["a", 1], [True, 1], [[1], [1]], [1, "a", "b"]),
    *(
        {},
        {"a": 1},
        {"a": "1"},
        {"b": "x"},
        {"a": 1, "b": "x"},
        {"a": [1, None]},
        {"next": {"next": None}},
        {"next": {"next": 1}},
    ),
)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_a_value_follows_a_schema_where_jsonschema_says_so(schema):
    judge = jsonschema.Draft202012Validator(schema)
    for value in VALUES:
        if isinstance(value, int) and abs(value) > 1e300 and isinstance(schema, dict) and "multipleOf" in schema:
            assert not follows(value, schema)  # jsonschema cannot divide it
            continue
        assert follows(value, schema) == judge.is_valid(value), value


def test_decimal_fractions_are_multiples_as_they_are_written():
    assert follows(0.3, {"multipleOf": 0.1})  # jsonschema divides floats, and says no
    assert not follows(0.35, {"multipleOf": 0.1})


def test_drafts_before_have_their_words():
    assert follows(2, {"minimum": 1, "exclusiveMinimum": True})
    assert not follows(1, {"minimum": 1, "exclusiveMinimum": True})
    assert not follows([1, "x"], {"items": [{}], "additionalItems": {"type": "integer"}})
    assert not follows({"a": 1}, {"dependencies": {"a": ["b"]}})
    assert not follows({"a": 1}, {"dependencies": {"a": {"required": ["b"]}}})


def test_what_goes_round_for_ever_or_takes_too_long_follows_nothing():
    assert not follows(1, {"$ref": "#"})
    assert not follows(1, {"$ref": "#/nowhere"})
    assert not follows(1, {"$ref": "http://example.com/other.json"})
    schema = {"type": "integer"}
    for _ in range(30):
        schema = {"allOf": [schema, schema]}
    assert not follows(1, schema)
    deep = 1
    for _ in range(5000):
        deep = [deep]
    assert not follows(deep, {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}})
    assert not any(follows(value, {"pattern": "^(a+)+$"}) for value in itertools.repeat("a" * 3000 + "b", 3))
