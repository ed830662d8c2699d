"""BFCL from its wheel: read, never installed. The wheel here is made up, in the form of the real one."""

import json
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.evaluation import Call, EvaluationError, Outcome, cards
from ouvert.evaluation.suites import bfcl
from ouvert.evaluation.suites.bfcl import PARTS, as_schema, matches, possible_arguments

AREA = {
    "name": "math.area",
    "description": "Area of a rectangle.",
    "parameters": {
        "type": "dict",
        "properties": {
            "a": {"type": "float", "description": "One side.", "default": 1},
            "b": {"type": "integer", "description": "The other."},
            "unit": {"type": "string", "description": "A unit.", "enum": ["m", "cm"]},
            "points": {"type": "tuple", "items": {"type": "any"}},
        },
        "required": ["a", "b"],
    },
}
OTHER = AREA | {"name": "play_song"}


def question(name, functions):
    return {"id": name, "question": [[{"role": "user", "content": f"Do {name}."}]], "function": functions}


def wheel_in(folder, leave_out=""):
    answers = {"math.area": {"a": [2.0], "b": [3], "unit": ["m", "metres", ""]}}
    files = {
        PARTS["simple"][0]: [question("simple_0", [AREA])],
        PARTS["simple"][1]: [{"id": "simple_0", "ground_truth": [answers]}],
        PARTS["multiple"][0]: [question("multiple_0", [OTHER, AREA])],
        PARTS["multiple"][1]: [{"id": "multiple_0", "ground_truth": [answers]}],
        PARTS["irrelevance"][0]: [question("irrelevance_0", [OTHER])],
    }
    path = folder / "made_up.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, lines in files.items():
            if name != leave_out:
                archive.writestr(name, "\n".join(map(json.dumps, lines)))
    digest = "sha256:" + sha256(path.read_bytes()).hexdigest()
    return bfcl.suite(replace(cards()["bfcl"], digest=digest), path=path)


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return wheel_in(tmp_path_factory.mktemp("bfcl"))


def said(item, name, arguments):
    if item.form == "free":
        return Outcome(calls=(Call(name=name, arguments=json.dumps(arguments)),), reason="tool_calls")
    return Outcome(text=json.dumps({"call": {"function": name, "arguments": arguments}}), reason="stop")


def test_the_right_call_counts_in_both_forms_and_others_do_not(suite):
    items = [item for item in suite.items("en", 9, 1) if item.group != "irrelevance"]
    assert len(items) == 4
    for item in items:
        for right in ({"a": 2, "b": 3}, {"a": 2.0, "b": 3, "unit": "M"}):
            assert suite.score(item, said(item, "math_area", right)).right
        for wrong in ({"a": 2}, {"a": 2, "b": "3"}, {"a": 2, "b": 3, "c": 1}, {"a": 2, "b": 3, "unit": "cm"}, [], 3):
            assert not suite.score(item, said(item, "math_area", wrong)).right, wrong
        assert not suite.score(item, said(item, "play_song", {"a": 2, "b": 3})).right
        assert not suite.score(item, Outcome(text="math_area(a=2, b=3)")).right
    free = next(item for item in items if item.form == "free")
    twice = said(free, "math_area", {"a": 2, "b": 3}).calls * 2
    assert not suite.score(free, Outcome(calls=twice)).right


def test_where_no_function_fits_an_answer_without_a_call_is_right(suite):
    free, schema = (item for item in suite.items("en", 9, 1) if item.group == "irrelevance")
    assert suite.score(free, Outcome(text="I cannot do that.")).right
    assert not suite.score(free, Outcome()).right
    assert not suite.score(free, said(free, "play_song", {})).right
    assert suite.score(schema, said(schema, "none", {})).right
    assert not suite.score(schema, said(schema, "play_song", {})).right


def test_functions_are_offered_as_tools_and_as_a_schema(suite):
    for free, schema in zip(suite.items("en", 9, 1)[::2], suite.items("en", 9, 1)[1::2], strict=True):
        assert (free.id, free.expected) == (schema.id, schema.expected)
        names = [tool["function"]["name"] for tool in free.ask.tools]
        assert all(name in schema.ask.messages[0]["content"] for name in names)
        jsonschema.Draft202012Validator.check_schema(schema.ask.schema)
        for name in names:
            call = {"call": {"function": name, "arguments": {"a": 1, "b": 2}}}
            jsonschema.validate(call, schema.ask.schema)
        jsonschema.validate({"call": {"function": "none", "arguments": {}}}, schema.ask.schema)


def test_pythons_types_become_those_of_json_schema():
    schema = as_schema(AREA["parameters"])
    assert schema["type"] == "object"
    assert schema["properties"]["a"] == {"type": "number", "description": "One side."}
    assert schema["properties"]["points"] == {"type": "array", "items": {}}
    assert schema["required"] == ["a", "b"]


@pytest.mark.parametrize(
    ("given_", "wanted", "same"),
    [
        ("San Francisco, CA", "san francisco ca", True),
        ("x**2", "x^2", True),
        ("Paris", "Pari", False),
        (True, 1, False),
        (2, 2.0, True),
        ([1, "a"], [1, "A"], True),
        ([1], [1, 2], False),
        ({"min": 3}, {"min": [3], "max": [5, ""]}, True),
        ({"min": 4}, {"min": [3]}, False),
    ],
)
def test_values_are_compared_as_values(given_, wanted, same):
    assert matches(given_, wanted) is same


def test_an_argument_may_be_missing_only_where_that_is_possible():
    assert possible_arguments({}, {"a": ["", 1]})
    assert not possible_arguments({}, {"a": [1]})


@given(text=st.text(max_size=60), arguments=st.text(max_size=30))
def test_scoring_raises_nothing(suite, text, arguments):
    for item in suite.items("en", 9, 1):
        for said_ in (text, '{"call": ' + text + "}"):
            suite.score(item, Outcome(text=said_, calls=(Call(name=text, arguments=arguments),)))


def test_guesses_are_calls_of_nothing_and_of_the_first_function(suite):
    items = suite.items("en", 9, 1)
    guesses = suite.guesses(items)
    assert {item.group for item in items if suite.score(item, guesses["never a call"](item)).right} == {"irrelevance"}
    assert not any(suite.score(i, guesses["the first function without arguments"](i)).right for i in items)


def test_another_wheel_and_one_without_the_questions_are_refused(tmp_path):
    lacking = wheel_in(tmp_path, leave_out=PARTS["multiple"][1])
    with pytest.raises(EvaluationError, match="lacks the questions"):
        lacking.items("en", 1, 1)
    with pytest.raises(EvaluationError, match="digest"):
        bfcl.suite(cards()["bfcl"], path=lacking.path).items("en", 1, 1)
    with pytest.raises(EvaluationError, match="No such file"):
        bfcl.suite(cards()["bfcl"], path=tmp_path / "none.whl").items("en", 1, 1)


def test_fewer_items_begin_more_and_nothing_is_installed(suite):
    assert suite.items("en", 2, 1) == suite.items("en", 9, 1)[:4]
    assert not any(name.startswith("bfcl") for name in sys.modules)
