"""Multiple choice: which answers say a letter, and which choice is the likeliest."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.evaluation import Chat, Item, Likelihood, Outcome
from ouvert.evaluation.suites.choices import choice_guesses, letter_in, lettered, score_choice

CHOICES = ("eight", "two", "twenty-four", "120")
LETTER = Item(
    suite="s",
    id="1",
    language="en",
    ask=Chat(messages=({"role": "user", "content": "?"},), max_tokens=8),
    expected={"letter": "C", "choices": CHOICES},
    form="letter",
)
LIKELIHOOD = Item(
    suite="s",
    id="1",
    language="en",
    ask=Likelihood(context="?", choices=CHOICES),
    expected={"letter": "C", "choices": CHOICES},
    form="likelihood",
)


@pytest.mark.parametrize(
    "text",
    [
        *"Cc",
        " (C) ",
        "**C**",
        "C.",
        "C. twenty-four",
        "C) 24",
        "The correct answer is C.",
        "Answer: **C**",
        "The answer is (C) twenty-four, since a group has …",
        "C\n\nBecause 24 divides 120.",
        "La réponse est C",
        '"C"',
    ],
)
def test_an_answer_that_says_one_letter_is_read(text):
    assert letter_in(text, 4) == "C"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A or C",
        "A, B, C",
        "A C",
        "E",
        "twenty-four",
        "A group has 24 elements, so",
        "Ç",
        "CC",
        "Cats",
        "I say C?!no",
        "A. eight\nB. two\nC. twenty-four",
        "A. eight. The answer is C",
        "The answer is A. The answer is C",
        "C'est A",
    ],
)
def test_an_answer_that_says_none_or_several_has_none(text):
    assert letter_in(text, 4) == ""


@given(st.text(max_size=60), st.integers(2, 26))
def test_reading_a_letter_raises_nothing(text, count):
    assert letter_in(text, count) in ("", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:count])


def test_choices_are_listed_in_their_order():
    assert lettered(CHOICES).splitlines() == ["A. eight", "B. two", "C. twenty-four", "D. 120"]


def test_the_likeliest_choice_counts_and_a_tie_does_not():
    assert score_choice(LIKELIHOOD, Outcome(logprobs=(-9.0, -8.0, -7.5, -8.5))).right
    assert score_choice(LIKELIHOOD, Outcome(logprobs=(-7.0, -8.0, -7.5, -8.5))).chosen == "A"
    tied = score_choice(LIKELIHOOD, Outcome(logprobs=(-7.5, -8.0, -7.5, -8.5)))
    assert (tied.right, tied.chosen) == (False, "")


@pytest.mark.parametrize("logprobs", [(), (-1.0,), (-1.0, -2.0, math.nan, -3.0)])
def test_log_probabilities_that_are_not_one_a_choice_are_malformed(logprobs):
    assert score_choice(LIKELIHOOD, Outcome(logprobs=logprobs)).malformed


def test_the_letter_that_was_chosen_is_said_right_or_wrong():
    assert score_choice(LETTER, Outcome(text="C")).chosen == "C"
    wrong = score_choice(LETTER, Outcome(text="A"))
    assert (wrong.chosen, wrong.right, wrong.malformed) == ("A", False, False)


def test_what_could_not_be_asked_is_wrong_but_not_malformed():
    for item in (LETTER, LIKELIHOOD):
        score = score_choice(item, Outcome(refused="no likelihoods there"))
        assert (score.value, score.malformed, score.chosen) == (0.0, False, "")


def test_guesses_take_the_same_choice_in_both_forms():
    for name, guess in choice_guesses(4).items():
        letter, likelihood = (score_choice(item, guess(item)) for item in (LETTER, LIKELIHOOD))
        assert letter.chosen == likelihood.chosen != "", name
    assert score_choice(LETTER, choice_guesses(4)["the longest choice"](LETTER)).right
