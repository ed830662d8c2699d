"""The number that an answer ends with: what counts as stating one, and what does not."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.evaluation.suites.final_number import final_number, numbers_in


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", 18),
        ("Answer: 18", 18),
        ("16 - 3 - 4 = 9 eggs.\n9 * 2 = 18\nAnswer: 18", 18),
        ("**Answer:** $70,000", 70000),
        ("The answer is **-2.50**.", Decimal("-2.5")),
        ("So the final answer is: \\boxed{18}", 18),
        ("Janet makes 9 * 2 = $18 every day.\n#### 18", 18),
        ("Answer:\n18 dollars", 18),
        ("Answer: 16 - 7 = 9, and 9 * 2 = 18", 18),
        ("She sells 9 eggs.\nShe makes $18 a day.", 18),
        ("Answer: 18\n\nAnswer: 18.0", 18),
    ],
)
def test_an_answer_that_states_one_number_is_read(text, number):
    assert final_number(text, "en") == (Decimal(number), "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I do not know.",
        "Answer: eighteen",
        "Answer: 18 or 19",
        "Answer: 17\nAnswer: 18",
        "18\nAnswer: no",
        "Answer: 18,19",
        "17, 18",
        "Answer: 1e18",
        "It is 18.\nI hope that this helps!",
        "Answer: 18\nThe answer is 19",
    ],
)
def test_an_answer_that_states_none_or_several_has_none(text):
    number, why = final_number(text, "en")
    assert number is None
    assert why


def test_an_answer_cut_for_length_counts_only_what_it_had_stated():
    assert final_number("9 * 2 = 18", "en", cut=True)[0] is None
    assert final_number("Answer: 18. Let me", "en", cut=True)[0] == 18


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("70 000", [70000]), ("70\u202f000,5", [Decimal("70000.5")]), ("3,5 et 4", [Decimal("3.5"), 4]), ("1,000", [1])],
)
def test_french_numbers_have_commas_and_spaces(text, numbers):
    assert numbers_in(text, "fr") == numbers


def test_english_numbers_have_points_and_commas():
    assert numbers_in("1,234.5 and 12,34 and −3", "en") == [Decimal("1234.5"), 12, 34, -3]


@given(st.text(max_size=80), st.sampled_from(["en", "fr"]))
def test_reading_raises_nothing(text, language):
    final_number(text, language)
    final_number("Answer: " + text, language)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9))
def test_what_is_stated_is_what_is_read(number):
    assert final_number(f"Answer: {number:,}", "en")[0] == number
    assert final_number("Réponse : " + f"{number:,}".replace(",", "\u202f").replace(".", ","), "fr")[0] == number
