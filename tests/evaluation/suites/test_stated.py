from decimal import Decimal

import pytest

from ouvert.evaluation.suites.stated import stated_choice, stated_number, stated_numbers, stated_words


@pytest.mark.parametrize(
    ("text", "language", "number"),
    [
        ("7", "en", "7"),
        ("3 + 4 = 7", "en", "7"),
        ("The sum of 3 and 4 is **7**.", "en", "7"),
        ("\\boxed{7}", "en", "7"),
        ("It costs 1,234.50 dollars", "en", "1234.5"),
        ("-356", "en", "-356"),
        ("12 − 15 = −3", "en", "-3"),
        ("12-15", "en", "15"),  # the sign is between two numbers, and the last of them is taken
        ("First 8, so Answer: 9\n(not 10)", "en", "9"),
        ("Answer:\n9", "en", "9"),
        ("**Answer:** 9", "en", "9"),
        ("Réponse : 1 234,5", "fr", "1234.5"),
        ("La réponse finale : 12", "fr", "12"),
        ("Cela fait 1\u202f234.", "fr", "1234"),
        ("3,5", "fr", "3.5"),
        ("3.5", "fr", "3.5"),
        ("1,234", "fr", "1.234"),
        ("1,234", "en", "1234"),
    ],
)
def test_a_number_that_is_stated_is_found(text, language, number):
    assert stated_number(text, language) == Decimal(number)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("5 or 7", "en"),
        ("5, 6, 7", "en"),
        ("5,6", "en"),
        ("5/7", "en"),
        ("between 5 and 7", "en"),
        ("5 ou 7", "fr"),
        ("5 et 7", "fr"),
        ("5 7", "en"),
        ("seven", "en"),
        ("x7y", "en"),
        ("", "fr"),
        ("Answer: I do not know; 7 perhaps?\nAnswer: none", "en"),
    ],
)
def test_several_numbers_and_none_are_no_answer(text, language):
    assert stated_number(text, language) is None


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("Yes.", "yes"),
        ("**no**", "no"),
        ("Yes, that follows.", "yes"),
        ("Yes. No wug is a zorp, so it holds.", "yes"),
        ("Let us see. No wug is one.\nAnswer: yes", "yes"),
        ("yes or no", None),
        ("Yes. No.", None),
        ("Yesterday I knew", None),
        ("I cannot say", None),
        ("", None),
    ],
)
def test_a_choice_is_the_only_one_that_is_said(text, choice):
    assert stated_choice(text, ["yes", "no"]) == choice


def test_a_choice_inside_a_longer_one_is_not_meant():
    assert stated_choice("Saint Martin", ["Martin", "Saint Martin"]) == "Saint Martin"
    assert stated_choice("It is l’arbre.", ["l'arbre", "la rue"]) == "l'arbre"


@pytest.mark.parametrize(
    "text",
    [
        "12, 45, 78",
        "[12, 45, 78]",
        "12 45 78",
        "12 < 45 < 78",
        "The 3 numbers in order: 12, 45 and 78.",
        "1. 12\n2. 45\n3. 78",
        "12\n45\n78",
        "First 45, 12, 78.\nAnswer: 12, 45, 78",
        "Dans l'ordre : 12, 45 et 78",
    ],
)
def test_numbers_that_are_listed_are_found(text):
    assert stated_numbers(text) == ("12", "45", "78")


@pytest.mark.parametrize(
    "text", ["12, 30, 45, 78", "12, 45", "12, 45, 78, 12", "45, 12, 78", "12, 45, 78 or 78, 45, 12"]
)
def test_other_lists_of_numbers_are_others(text):
    assert stated_numbers(text) != ("12", "45", "78")


@pytest.mark.parametrize(
    "text",
    [
        "apple, kiwi, plum",
        "Apple, Kiwi, Plum.",
        "apple, kiwi and plum",
        "The sorted words are apple, kiwi, plum.",
        "Sorted: apple, kiwi, plum",
        "- apple\n- kiwi\n- plum",
        "1. apple\n2. kiwi\n3. plum",
        "apple < kiwi < plum",
        "apple, kiwi et plum",
    ],
)
def test_words_that_are_listed_are_found(text):
    assert stated_words(text) == ("apple", "kiwi", "plum")


@pytest.mark.parametrize("text", ["apple, kiwi", "apple, fig, kiwi, plum", "kiwi, apple, plum", "apple kiwi plum", ""])
def test_other_lists_of_words_are_others(text):
    assert stated_words(text) != ("apple", "kiwi", "plum")
