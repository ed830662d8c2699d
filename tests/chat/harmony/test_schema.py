"""Tools in the form gpt-oss reads. tests/references/chat compares generated schemas with openai-harmony."""

import math

import pytest

from ouvert.chat.harmony.schema import compact, type_of
from ouvert.chat.harmony.sections import developer_text, lines_of, system_text


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "any"),
        (True, "any"),
        ({"type": "integer"}, "number"),
        ({"type": "null"}, "any"),
        ({"type": ["integer", "string", "null"]}, "number | string | null"),
        ({"type": []}, "any"),
        ({"type": "string", "enum": ["a", 1, "b"]}, '"a" | "b"'),
        ({"type": "string", "enum": [1]}, "string"),
        ({"type": "number", "enum": [1, 2]}, "number"),
        ({"enum": ["a"]}, "any"),
        ({"type": "array"}, "Array<any>"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "boolean"}}}, "boolean[][]"),
        ({"type": "object"}, "{\n}"),
        ({"oneOf": [{"type": "string"}, {"type": "number", "default": 1}]}, "\n | string\n | number // default: 1"),
        ({"oneOf": [{"type": "string", "nullable": True, "description": "d"}]}, "\n | string | null // d"),
        ({"oneOf": "no list", "type": "string"}, "string"),
        ({"$ref": "#/x"}, "any"),
    ],
)
def test_types(schema, expected):
    assert type_of(schema) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"), (-(2**63), "-9223372036854775808"), (2**64 - 1, "18446744073709551615"),
        (2**64, "1.8446744073709552e19"),
        (1.0, "1.0"), (1e15, "1000000000000000.0"), (1e16, "1e16"), (1.5e300, "1.5e300"), (1e-5, "0.00001"),
        (-1.25e-5, "-0.0000125"), (1e-6, "1e-6"), (2.5e-7, "2.5e-7"), (-0.0, "-0.0"), (math.inf, "null"),
        (None, "null"), (True, "true"), ("é\"\n", '"é\\"\\n"'),
        ([1, "a"], '[1,"a"]'), ({"b": 1, "a": {}}, '{"b":1,"a":{}}'),
    ],
)  # fmt: skip
def test_values_are_written_as_serde_json_writes_them(value, expected):
    assert compact(value) == expected


def test_a_schema_holds_only_what_json_can_say():
    with pytest.raises(TypeError, match="it holds set, expected what JSON can say"):
        compact({1, 2})


def test_lines_are_counted_as_rust_counts_them():
    assert lines_of("a\r\nb\u2028c\n") == ["a", "b\u2028c"]
    assert lines_of("") == []
    assert lines_of("a\r") == ["a\r"]
    assert lines_of("\n\n") == ["", ""]


def test_sections_without_content_are_left_out():
    bare = system_text(identity=None, knowledge_cutoff=None, effort=None, channels=())
    assert (bare, developer_text(None, ())) == ("", "")
