import json
import re

import pytest

from ouvert.evaluation import Call, Outcome, open_suite
from ouvert.evaluation.suites.tools.catalogue import said, tools
from ouvert.evaluation.suites.tools.scoring import same_value

SUITE = open_suite("tools")


def first(group, form, language="en"):
    return next(each for each in SUITE.items(language, 10, 0) if (each.group, each.form) == (group, form))


def calling(*calls):
    return Outcome(calls=tuple(Call(name=name, arguments=arguments) for name, arguments in calls))


def test_the_tools_of_both_languages_are_the_same_in_number_and_kind():
    english, french = tools("en"), tools("fr")
    assert [each.family for each in english] == [each.family for each in french]
    for ours, theirs in zip(english, french, strict=True):
        assert [bool(each.values) for each in ours.parameters] == [bool(each.values) for each in theirs.parameters]
    assert said("en")["values"].keys() == said("fr")["values"].keys()


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_wording_of_a_request_has_every_argument_in_it(language):
    for tool in tools(language):
        assert len(tool.requests) == 3
        for request in tool.requests:
            assert set(re.findall(r"{(\w+)}", request)) == {each.name for each in tool.parameters}


def test_no_offered_tool_is_of_the_family_of_the_wanted_one():
    families = {each.name: each.family for each in tools("fr")}
    for item in SUITE.items("fr", 100, 0):
        if item.form == "free":
            offered = [each["function"]["name"] for each in item.ask.tools]
            wanted = item.labels["tool"]
            assert [each for each in offered if families[each] == families[wanted]] == [wanted] * (wanted in offered)
            assert (wanted in offered) == (item.group != "none")


def test_the_prompt_never_holds_the_call_that_is_wanted():
    for language in ("en", "fr"):
        for item in SUITE.items(language, 100, 0):
            assert (
                json.dumps(item.expected["arguments"]) not in item.ask.messages[0]["content"]
                or not item.expected["tool"]
            )


def test_one_right_call_among_others_is_wrong():
    item = first("pick", "free")
    right = (item.expected["tool"], json.dumps(item.expected["arguments"]))
    assert SUITE.score(item, calling(right)).right
    assert not SUITE.score(item, calling(right, right)).right
    assert not SUITE.score(item, calling(right, ("other", "{}"))).right


def test_arguments_have_to_be_all_and_no_more():
    item = first("arguments", "free")
    name, arguments = item.expected["tool"], dict(item.expected["arguments"])
    some = dict(list(arguments.items())[1:])
    for wrong in (some, arguments | {"extra": 1}, {}, [arguments], None, "x"):
        assert not SUITE.score(item, calling((name, json.dumps(wrong)))).right
    assert not SUITE.score(item, calling(("other", json.dumps(arguments)))).right


def test_a_call_where_no_tool_fits_is_wrong():
    item = first("none", "free")
    assert SUITE.score(item, Outcome(text="I have no tool for that.")).right
    name = item.ask.tools[0]["function"]["name"]
    assert not SUITE.score(item, calling((name, "{}"))).right


def test_a_call_that_is_only_text_is_malformed_also_where_no_tool_fits():
    for group in ("none", "pick"):
        item = first(group, "free")
        name = item.ask.tools[0]["function"]["name"]
        score = SUITE.score(item, Outcome(text=f'```json\n{{"name": "{name}", "arguments": {{}}}}\n```'))
        assert (score.value, score.malformed) == (0, True)


def test_in_the_schema_form_words_around_the_json_and_other_objects_are_malformed():
    item = first("call", "schema")
    right = {"call": {"tool": item.expected["tool"], "arguments": item.expected["arguments"]}}
    assert SUITE.score(item, Outcome(text=json.dumps(right))).right
    for wrong in (
        f"Here: {json.dumps(right)}",
        json.dumps(right["call"]),
        json.dumps([right]),
        "{}",
        "[" * 5000,
        "9" * 5000,
    ):
        score = SUITE.score(item, Outcome(text=wrong))
        assert (score.value, score.malformed) == (0, True), wrong[:40]


@pytest.mark.parametrize(
    ("given", "wanted", "same"),
    [
        ("lyon", "Lyon", True),
        (" Lyon. ", "Lyon", True),
        ("j’ai faim", "j'ai faim", True),
        ("Lyon, France", "Lyon", False),
        (5, 5, True),
        (5.0, 5, True),
        ("5", 5, False),
        (True, 1, False),
        (5, "5", False),
        (None, "Lyon", False),
        (float("nan"), 5, False),
    ],
)
def test_values_are_compared_strictly(given, wanted, same):
    assert same_value(given, wanted) is same
