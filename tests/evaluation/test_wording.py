"""Catalogues of words: every key in both languages, with the same places for values."""

import string

import pytest

from ouvert.evaluation.comparison import LIMITS
from ouvert.evaluation.wording import TEXTS, Wording, catalogue

NAMES = sorted({path.name.split(".")[0] for path in TEXTS.glob("*.toml")})


def places(text):
    return {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_have_the_same_keys_with_the_same_places(name):
    english, french = catalogue(name, "en"), catalogue(name, "fr")
    assert english.keys() ^ french.keys() == set()
    assert [key for key in english if places(english[key]) != places(french[key])] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_french_sign_of_two_parts_begins_a_line(name):
    wrong = {key: text for key, text in catalogue(name, "fr").items() for sign in ";:?!%»" if f" {sign}" in text}
    assert wrong == {}, "a space that may break stands before a sign: use U+202F, or U+00A0 before a colon"


def test_every_general_limit_has_its_words():
    assert {f"limits.{each}" for each in LIMITS} <= catalogue("report", "en").keys()


def test_numbers_have_the_separators_of_their_language():
    assert Wording("report", "en").number(1234.5, 1) == "1,234.5"
    assert Wording("report", "fr").number(1234.5, 1) == "1\u202f234,5"
    assert Wording("report", "fr").percent(0.38) == "38\u202f%"
