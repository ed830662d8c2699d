"""The suite `ladder`: small tasks in steps, so that one sees at which step a model breaks.

Steps are groups: `arithmetic-1` to `-5`, `letters-1` to `-3`, `sorting-1` to `-3`, `syllogisms-1` to `-3`.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.generated import (
    Draft,
    GeneratedSuite,
    Turn,
    all_or_nothing,
    commonest,
    copies_the_question,
    says,
)
from ouvert.evaluation.suites.ladder.arithmetic import arithmetic
from ouvert.evaluation.suites.ladder.letters import letters
from ouvert.evaluation.suites.ladder.sorting import sorting
from ouvert.evaluation.suites.ladder.syllogisms import syllogisms
from ouvert.evaluation.suites.stated import stated_choice, stated_number, stated_numbers, stated_words
from ouvert.evaluation.suites.suite import Card, Guess

VERSION = 1
LADDERS = {"arithmetic": arithmetic, "letters": letters, "sorting": sorting, "syllogisms": syllogisms}
# In the order of their turns: first steps first, so that few items tell something about every model.
STEPS = (
    "arithmetic-1", "letters-1", "sorting-1", "syllogisms-1", "arithmetic-2", "letters-2", "sorting-2", "syllogisms-2",
    "arithmetic-3", "letters-3", "sorting-3", "syllogisms-3", "arithmetic-4", "arithmetic-5",
)  # fmt: skip


NUMBERS = {"sorting-1", "sorting-2"}  # steps whose lists are of numbers


def suite(card: Card) -> GeneratedSuite:
    """The suite. It has no settings."""
    return GeneratedSuite(card=card, version=VERSION, groups=STEPS, draft=draft, scorer=score, guess=guesses)


def draft(turn: Turn) -> Draft:
    """One item of a step."""
    ladder, _, step = turn.group.partition("-")
    return LADDERS[ladder](turn, int(step))


def score(item: Item, outcome: Outcome) -> Score:
    """1 for the number, the word or the list that is expected and nothing else that could be the answer; else 0."""
    expected = item.expected
    if "number" in expected:
        number = stated_number(outcome.text, item.language)
        return all_or_nothing(number == Decimal(expected["number"]), f"states {number}", malformed=number is None)
    if "list" in expected:
        things = (stated_numbers if item.group in NUMBERS else stated_words)(outcome.text)
        return all_or_nothing(things == tuple(expected["list"]), f"lists {things[:12]}", malformed=len(things) < 2)
    choice = stated_choice(outcome.text, expected["of"])
    return all_or_nothing(choice == expected["choice"], f"says {choice}", malformed=choice is None)


def gold(item: Item) -> str:
    """The expected answer as one would write it."""
    expected = item.expected
    return ", ".join(expected["list"]) if "list" in expected else expected.get("number") or expected["choice"]


def reversed_list(item: Item) -> Outcome:
    """A strategy: the things of the question in the order in which they stand, backwards."""
    things = item.expected.get("given", ())
    return Outcome(text=", ".join(reversed(things)) or "1", reason="stop")


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    yes, no = ("oui", "non") if items and items[0].language == "fr" else ("yes", "no")
    return {
        "the commonest answer of each step": commonest(items, gold),
        "copies the question": copies_the_question,
        "the list backwards": reversed_list,
        "always yes": says(yes),
        "always no": says(no),
    }
