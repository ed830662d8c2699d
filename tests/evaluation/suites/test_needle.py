from functools import cache

import pytest

from ouvert.evaluation import EvaluationError, Outcome, open_suite

SUITE = open_suite("needle", words=3000)


@cache
def by_group(language):
    return {each.group: each for each in SUITE.items(language, len(SUITE.groups), 0)}


def item_of(group, language="en"):
    return by_group(language)[group]


def test_lengths_and_depths_are_those_of_the_group():
    for group in SUITE.groups:
        kind, length, *depth = group.split("-")
        for language in ("en", "fr"):
            item = item_of(group, language)
            text = max(item.ask.messages[0]["content"].split("\n\n"), key=len)
            assert int(length) <= len(text.split()) < int(length) * 1.1 + 100
            if kind == "one":
                before = text[: text.index(item.expected["number"])]
                assert abs(len(before) / len(text) - int(depth[0]) / 100) < 0.2 if int(length) < 1000 else 0.05


def test_longer_texts_leave_the_items_of_shorter_ones_as_they_are():
    short = open_suite("needle", words=300)
    assert short.describe()["settings"] == {"words": 300}
    long = {item.id: item for item in SUITE.items("en", 60, 0)}
    assert all(long[item.id] == item for item in short.items("en", 20, 0))


@pytest.mark.parametrize("words", [0, 99, -1, "1000", None, 300.5])
def test_texts_shorter_than_the_shortest_and_what_is_no_number_are_an_error(words):
    with pytest.raises(EvaluationError, match="it takes a number from 100"):
        open_suite("needle", words=words)


def test_a_setting_that_there_is_not_is_an_error():
    with pytest.raises(EvaluationError, match="got the settings length; it has words"):
        open_suite("needle", length=100)
    with pytest.raises(EvaluationError, match="got the settings words; it has no settings"):
        open_suite("ladder", words=100)


def test_there_is_always_a_number_that_is_not_the_answer():
    for item in SUITE.items("fr", 40, 0):
        numbers = [word.strip(".") for word in item.ask.messages[0]["content"].split() if word.strip(".").isdigit()]
        wanted = item.expected.get("numbers", [item.expected.get("number")])
        assert set(wanted) < set(numbers)
        assert len(numbers) == len(set(numbers))


def test_four_numbers_have_to_be_all_and_in_order():
    item = item_of("several-100")
    right = item.expected["numbers"]
    assert SUITE.score(item, Outcome(text=", ".join(right))).right
    for wrong in (right[::-1], right[:3], [*right, "12345"], [right[0]] * 4):
        assert not SUITE.score(item, Outcome(text=", ".join(wrong))).right


def test_a_variable_leads_over_boxes_that_do_not_state_the_number():
    item = item_of("variable-100")
    text, number = item.ask.messages[0]["content"], item.expected["number"]
    asked = text.rsplit("box ", 1)[1].split("?")[0].split()[0]
    stating = next(sentence for sentence in text.split(". ") if number in sentence)
    assert asked not in stating
