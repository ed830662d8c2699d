import pytest

from ouvert.evaluation import Outcome, open_suite
from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.read.passage import ATTRIBUTES, passage

SUITE = open_suite("read")


def test_the_questions_of_one_number_are_about_one_text_and_a_cluster():
    clusters = [item.cluster for item in SUITE.items("en", 60, 0) if item.group != "simple"]
    assert clusters == [cluster for cluster in dict.fromkeys(clusters) for _ in range(5)]
    assert len(set(clusters)) == 10


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_text_says_what_it_states_and_nothing_that_it_leaves_out(language):
    for number in range(30):
        made = passage(Draw("test", number), language)
        assert len(made.stated) == 17
        for person in made.people:
            for attribute in ATTRIBUTES:
                assert (person[attribute] in made.text) == made.knows(person, attribute)


def item_of(group, kind, language="en"):
    return next(each for each in SUITE.items(language, 150, 0) if (each.group, each.labels["kind"]) == (group, kind))


def right(item, text):
    return SUITE.score(item, Outcome(text=text)).right


def test_a_sentence_with_the_one_value_is_right_and_with_two_is_not():
    item = item_of("two-step", "city")
    city = item.expected["answer"]
    other = "Oslo" if city != "Oslo" else "Lima"
    assert right(item, city)
    assert right(item, f"The person comes from **{city}**.")
    assert right(item, f"It says {other} first.\nAnswer: {city}")
    assert not right(item, f"{city} or {other}")
    assert not right(item, f"Answer: {city} or {other}")
    assert not right(item, other)
    assert not right(item, f"It is not {city}.")
    assert not right(item, f"{city}shire")
    assert not right(item, "not stated")
    assert not right(item, f"{city}, but it is not stated")


def test_articles_do_not_matter_in_french():
    item = item_of("direct", "pet", "fr")
    assert right(item, item.expected["answer"])
    assert right(item, item.expected["answer"].split()[-1])


def test_what_is_not_stated_may_be_said_in_several_ways_but_not_beside_a_value():
    item = item_of("unstated", "age")
    for text in ("not stated", "Not stated.", "The text does not say.", "It is not mentioned in the text."):
        assert right(item, text)
    for text in ("34", "not stated, perhaps 34", "unknown stated", "I don't know"):
        assert not right(item, text)


def test_an_age_is_a_number():
    item = item_of("direct", "age")
    age = item.expected["answer"]
    assert right(item, age)
    assert right(item, f"{age} years old")
    assert not right(item, f"{age} or 20")
    assert not right(item, f"1{age}")
