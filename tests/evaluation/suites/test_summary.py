import re

import pytest

from ouvert.evaluation import Item, Outcome, open_suite
from ouvert.evaluation.item import Chat

SUITE = open_suite("summary")
TEXT = "On Friday 451 visitors came to Oslo, and Anna sold cakes for 1200 euros in 6 hours."
FACTS = {"day": "Friday", "visitors": "451", "city": "Oslo", "name": "Anna", "money": "1200", "hours": "6"}


def scored(answer, language="en", words=40):
    item = Item(
        suite="summary",
        id="x",
        language=language,
        ask=Chat(messages=({"role": "user", "content": TEXT},), max_tokens=99),
        expected={"facts": FACTS, "words": words, "text": TEXT},
        group="facts-6",
    )
    return SUITE.score(item, Outcome(text=answer))


def test_facts_that_are_kept_and_lost_are_counted():
    assert scored("On Friday, 451 people met Anna in Oslo and paid 1,200 euros within only six hours or so.").right
    score = scored("On Friday, 451 people met somewhere and it was a very nice evening for all of them.")
    assert (score.value, score.right, score.note) == (pytest.approx(2 / 6), False, "kept 2, lost 4, invented 0")


def test_what_is_invented_is_taken_off():
    kept = "On Friday, 451 people met Anna in Oslo and paid 1200 euros within only 6 hours"
    assert scored(kept).value == 1
    for invention in (" at 19 tables", " with Ben", " and in Lima", " and on Monday"):
        score = scored(kept + invention + ".")
        assert score.value == pytest.approx(5 / 6)
        assert not score.right
    assert scored("It was on Monday and Ben and Clara came with 12 or 13 people to see all of that.").value == 0


def test_a_copy_a_long_answer_and_a_list_are_no_summary():
    kept = "On Friday, 451 people met Anna in Oslo and paid 1200 euros within only 6 hours."
    assert scored(kept + " And so on." * 12).value == 0
    assert scored(TEXT, words=13).value == 0
    score = scored("Friday, 451, Oslo, Anna, 1200, 6")
    assert (score.value, score.malformed) == (0, True)


def test_a_number_inside_another_is_not_kept():
    assert scored("There were 14510 of them in all, as they say, on that day there.").value == 0


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_fact_stands_once_in_its_text_and_no_number_besides(language):
    for item in SUITE.items(language, 60, 0):
        text, facts = item.expected["text"], item.expected["facts"]
        assert len(facts) == int(item.group.removeprefix("facts-"))
        for value in facts.values():
            assert len(re.findall(rf"\b{value}\b", text)) == 1
        assert set(re.findall(r"[0-9]+", text)) == {value for value in facts.values() if value.isdigit()}
        assert len(text.split()) > 2 * item.expected["words"]
