"""The suite `calibration`: an answer and how sure it is."""

import math
from collections import Counter
from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.evaluation import Outcome, open_suite
from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.suites.calibration import LEVELS, share_of_likeliest

SUITE = open_suite("calibration")
# Over the first 50 items of seed 0: another digest means that other items are asked.
DIGESTS = {"en": "63d5e0702d2e", "fr": "a6214af90e4e"}


@cache
def first(form, language="en", right="C"):
    return next(
        item
        for item in SUITE.items(language, 99, 1)
        if item.form == form and (not right or item.expected["letter"] == right)
    )


@pytest.mark.parametrize(
    ("text", "confidence"),
    [
        ("Answer: C\nConfidence: 80%", 0.8),
        ("**Answer:** C\n**Confidence:** 80 %", 0.8),
        ("C\nConfidence: 100%.", 1.0),
        ("Answer: C. 12\nConfidence: 0%\nI guessed, since 12 is 3 more.", 0.0),
        ("Answer: C\nConfidence:\n62.5%", 0.625),
    ],
)
def test_an_answer_with_its_confidence_is_read(text, confidence):
    score = SUITE.score(first("asked"), Outcome(text=text))
    assert (score.right, score.confidence, score.malformed) == (True, confidence, False)


@pytest.mark.parametrize(
    "text",
    [
        "C",
        "Answer: C\nConfidence: high",
        "Answer: C\nConfidence: 80% or 90%",
        "Answer: C\nConfidence: 120%",
        "Answer: C\nConfidence: -5%",
        "Answer: C\nConfidence: 50%\nConfidence: 60%",
        "Answer: C\nConfidence:",
    ],
)
def test_a_confidence_that_is_no_percentage_is_none_and_the_answer_counts(text):
    score = SUITE.score(first("asked"), Outcome(text=text))
    assert (score.right, score.confidence) == (True, None)


def test_a_confidence_without_an_answer_is_malformed():
    score = SUITE.score(first("asked"), Outcome(text="Confidence: 90%"))
    assert (score.right, score.malformed) == (False, True)
    assert not SUITE.score(first("asked"), Outcome(text="Answer: A or C\nConfidence: 90%")).right


def test_french_answers_have_french_marks():
    score = SUITE.score(first("asked", "fr"), Outcome(text="Réponse : C\nConfiance : 62,5 %"))
    assert (score.right, score.confidence) == (True, 0.625)


def test_the_confidence_of_tokens_is_the_share_of_the_likeliest():
    item = first("tokens")
    score = SUITE.score(item, Outcome(logprobs=tuple(math.log(p) for p in (0.01, 0.02, 0.06, 0.01))))
    assert (score.right, score.chosen) == (True, "C")
    assert score.confidence == pytest.approx(0.6)
    assert SUITE.score(item, Outcome(logprobs=(-1.0,) * 4)).confidence is None


@given(st.lists(st.floats(-1e300, 0), min_size=1, max_size=4))
def test_a_share_lies_between_chance_and_one(logprobs):
    assert 1 / len(logprobs) - 1e-9 <= share_of_likeliest(logprobs) <= 1


@given(text=st.text(max_size=60), logprobs=st.lists(st.floats(), max_size=4))
def test_scoring_raises_nothing(text, logprobs):
    for form in ("asked", "tokens"):
        for said in (text, "Answer: C\nConfidence: " + text):
            SUITE.score(first(form), Outcome(text=said, logprobs=tuple(logprobs)))


@pytest.mark.parametrize("language", ["en", "fr"])
def test_one_choice_is_right_and_both_forms_offer_the_same(language):
    items = SUITE.items(language, 120, 5)
    assert Counter(item.group for item in items) == dict.fromkeys(LEVELS, 40)
    for asked, tokens in zip(items[::2], items[1::2], strict=True):
        assert (asked.id, asked.expected) == (tokens.id, tokens.expected)
        assert [choice.strip() for choice in tokens.ask.choices] == list(asked.expected["choices"])
        assert len(set(asked.expected["choices"])) == 4
    letters = Counter(item.expected["letter"] for item in items)
    assert min(letters.values()) > len(items) / 8


@pytest.mark.parametrize("language", ["en", "fr"])
def test_guesses_get_about_chance_and_say_so(language):
    items = SUITE.items(language, 120, 5)
    for guess in SUITE.guesses(items).values():
        scores = [SUITE.score(item, guess(item)) for item in items]
        assert sum(score.right for score in scores) / len(scores) < 0.45
        assert {score.confidence for item, score in zip(items, scores, strict=True) if item.form == "asked"} == {0.25}


@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_items_of_a_seed_stay_the_same(language):
    items = SUITE.items(language, 50, 0)
    assert SUITE.items(language, 20, 0) == items[:40]
    assert sha256(b"".join(map(canonical_json, items))).hexdigest()[:12] == DIGESTS[language]
