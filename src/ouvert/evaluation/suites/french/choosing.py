"""Which of two sentences a model finds likelier, and what choosing without knowing French gets."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from ouvert.evaluation.item import Item, Likelihood
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.generated import all_or_nothing
from ouvert.evaluation.suites.suite import Guess


def score(item: Item, outcome: Outcome) -> Score:
    """1 if the right sentence has the higher log-probability, summed over its tokens; 0 if not, and for a tie."""
    found, right = outcome.logprobs, item.expected["right"]
    if len(found) != len(choices(item)) or any(math.isnan(each) for each in found):
        return all_or_nothing(False, f"log-probabilities: {found[:4]}", malformed=True)
    others = [each for place, each in enumerate(found) if place != right]
    return all_or_nothing(found[right] > max(others), "the wrong sentence is likelier, or as likely")


def choices(item: Item) -> tuple[str, ...]:
    return cast("Likelihood", item.ask).choices


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    return {
        "the first sentence": prefers(lambda sentence, place: -place),
        "the shorter sentence": prefers(lambda sentence, place: -len(sentence)),
        "the longer sentence": prefers(lambda sentence, place: len(sentence)),
        "the sentence with fewer accents": prefers(
            lambda sentence, place: -sum(letter > "\x7f" for letter in sentence)
        ),
    }


def prefers(worth: Callable[[str, int], int]) -> Guess:
    """The strategy that finds a sentence likelier the more it is worth. Where both are worth the same: the first."""

    def guess(item: Item) -> Outcome:
        worths = [worth(sentence, place) for place, sentence in enumerate(choices(item))]
        return Outcome(logprobs=tuple(float(each) - 0.5 * place for place, each in enumerate(worths)))

    return guess
