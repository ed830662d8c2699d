import pytest

from ouvert.evaluation.suites.number_words import number_in_words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zéro"),
        (16, "seize"),
        (17, "dix-sept"),
        (21, "vingt et un"),
        (22, "vingt-deux"),
        (61, "soixante et un"),
        (70, "soixante-dix"),
        (71, "soixante et onze"),
        (72, "soixante-douze"),
        (79, "soixante-dix-neuf"),
        (80, "quatre-vingts"),
        (81, "quatre-vingt-un"),
        (83, "quatre-vingt-trois"),
        (90, "quatre-vingt-dix"),
        (91, "quatre-vingt-onze"),
        (99, "quatre-vingt-dix-neuf"),
        (100, "cent"),
        (101, "cent un"),
        (180, "cent quatre-vingts"),
        (200, "deux cents"),
        (203, "deux cent trois"),
        (280, "deux cent quatre-vingts"),
        (1000, "mille"),
        (1100, "mille cent"),
        (2000, "deux mille"),
        (3300, "trois mille trois cents"),
        (80_000, "quatre-vingt mille"),
        (200_000, "deux cent mille"),
        (280_080, "deux cent quatre-vingt mille quatre-vingts"),
    ],
)
def test_french_numbers_are_written_as_before_1990(number, words):
    assert number_in_words(number, "fr") == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (45, "forty-five"),
        (100, "one hundred"),
        (617, "six hundred and seventeen"),
        (2000, "two thousand"),
        (21_305, "twenty-one thousand three hundred and five"),
    ],
)
def test_english_numbers(number, words):
    assert number_in_words(number, "en") == words


@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_beyond_the_words_is_an_error(number):
    with pytest.raises(ValueError, match="from 0 to 999,999"):
        number_in_words(number, "fr")
