"""Numbers in words: English and French, from 0 to 999,999. French as it was written before 1990, which stays right:
hyphens below a hundred only, "et" without hyphens, "vingts" and "cents" where they end the number."""

from collections.abc import Callable

ENGLISH_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
ENGLISH_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
FRENCH_UNITS = (
    "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze", "treize",
    "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf",
)  # fmt: skip
FRENCH_TENS = (
    "",
    "",
    "vingt",
    "trente",
    "quarante",
    "cinquante",
    "soixante",
    "soixante",
    "quatre-vingt",
    "quatre-vingt",
)


def number_in_words(number: int, language: str) -> str:
    """In "en" or "fr". Raises ValueError below 0 and from a million on."""
    if not 0 <= number < 1_000_000:
        raise ValueError(f"writing {number} in words: from 0 to 999,999 there are words here.")
    return english(number) if language == "en" else french(number)


def english(number: int) -> str:
    if number >= 1000:
        return english(number // 1000) + " thousand" + behind(" ", number % 1000, english)
    if number >= 100:
        return ENGLISH_UNITS[number // 100] + " hundred" + behind(" and ", number % 100, english)
    if number < 20:
        return ENGLISH_UNITS[number]
    return ENGLISH_TENS[number // 10] + behind("-", number % 10, english)


def french(number: int, ends: bool = True) -> str:
    """`ends`: no "mille" stands behind it, which takes the "s" of "vingts" and "cents" away."""
    if number >= 1000:
        thousands = number // 1000
        return (
            ("" if thousands == 1 else french(thousands, ends=False) + " ")
            + "mille"
            + behind(" ", number % 1000, french)
        )
    if number >= 100:
        hundreds, rest = divmod(number, 100)
        several = "" if hundreds == 1 else FRENCH_UNITS[hundreds] + " "
        plural = "s" if hundreds > 1 and not rest and ends else ""
        return several + "cent" + plural + (f" {french(rest, ends)}" if rest else "")
    return french_below_a_hundred(number, ends)


def french_below_a_hundred(number: int, ends: bool) -> str:
    if number < 20:
        return FRENCH_UNITS[number]
    tens, units = divmod(number, 10)
    if tens in (7, 9):  # soixante-dix, quatre-vingt-dix: the units go on to nineteen
        units += 10
    if units == 0:
        return FRENCH_TENS[tens] + ("s" if tens == 8 and ends else "")
    joint = " et " if units in (1, 11) and tens < 8 else "-"
    return FRENCH_TENS[tens] + joint + FRENCH_UNITS[units]


def behind(joint: str, rest: int, words: Callable[[int], str]) -> str:
    """The rest in words, with what joins it; nothing for 0."""
    return joint + words(rest) if rest else ""
