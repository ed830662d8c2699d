"""The suite `needle`: numbers to be found in a long text.

Groups: `one-LENGTH-DEPTH` (one number; length in words, depth in percent), `several-LENGTH` (four numbers),
`variable-LENGTH` (a value handed on through three sentences). The setting `words` is the longest length.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.generated import GeneratedSuite, all_or_nothing, copies_the_question, text_of
from ouvert.evaluation.suites.needle.texts import draft
from ouvert.evaluation.suites.stated import stated_number, stated_numbers
from ouvert.evaluation.suites.suite import Card, Guess

VERSION = 1
LENGTHS = (100, 300, 1000, 3000, 6000, 12000, 24000, 48000)  # words
DEPTHS = (10, 50, 90)  # percent of the text that stands before the needle


def suite(card: Card, words: int = 1000) -> GeneratedSuite:
    """The suite, with texts of up to `words` words. Raises EvaluationError for what is no number, and for
    fewer than the shortest text has."""
    lengths = [each for each in LENGTHS if isinstance(words, int) and each <= words]
    if not lengths:
        raise EvaluationError(
            f"opening the suite needle: got words={words!r}; it takes a number from {LENGTHS[0]} on, the shortest text."
        )
    return GeneratedSuite(
        card=card,
        version=VERSION,
        groups=groups(lengths),
        draft=draft,
        scorer=score,
        guess=guesses,
        settings={"words": lengths[-1]},
    )


def groups(lengths: Sequence[int]) -> tuple[str, ...]:
    """Every cell, short texts first."""
    return tuple(
        cell
        for length in lengths
        for cell in (*(f"one-{length}-{depth}" for depth in DEPTHS), f"several-{length}", f"variable-{length}")
    )


def score(item: Item, outcome: Outcome) -> Score:
    """1 for the number, or for all four in their order; else 0."""
    if "numbers" in item.expected:
        found = stated_numbers(outcome.text)
        return all_or_nothing(found == tuple(item.expected["numbers"]), f"lists {found[:8]}", malformed=len(found) < 2)
    number = stated_number(outcome.text, item.language)
    return all_or_nothing(number == Decimal(item.expected["number"]), f"states {number}", malformed=number is None)


def in_the_text(place: int) -> Guess:
    """The strategy that gives the first number of the text (0) or the last one (-1); where four are asked for, the four
    from that end, as they stand."""

    def guess(item: Item) -> Outcome:
        numbers = [word.strip(".") for word in text_of(item).split() if word.strip(".").isdigit()]
        four = numbers[:4] if place == 0 else numbers[-4:]
        return Outcome(text=", ".join(four) if "numbers" in item.expected else numbers[place], reason="stop")

    return guess


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    return {
        "the first number of the text": in_the_text(0),
        "the last number of the text": in_the_text(-1),
        "copies the question": copies_the_question,
    }
