"""The suite `obey`: fourteen kinds of instructions that a program can check. Each kind is a group."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.generated import (
    Draft,
    GeneratedSuite,
    Turn,
    all_or_nothing,
    copies_the_question,
    question,
    says,
)
from ouvert.evaluation.suites.language_data import language_data
from ouvert.evaluation.suites.obey.checks import CHECKS, keeps
from ouvert.evaluation.suites.obey.values import VALUES
from ouvert.evaluation.suites.suite import Card, Guess

VERSION = 1


def suite(card: Card) -> GeneratedSuite:
    """The suite. It has no settings."""
    return GeneratedSuite(card=card, version=VERSION, groups=tuple(CHECKS), draft=draft, scorer=score, guess=guesses)


def draft(turn: Turn) -> Draft:
    """One instruction about one topic."""
    said = language_data(Path(__file__).parent, turn.language)
    topic, values = turn.draw.one(said["topics"]), VALUES[turn.group](turn.draw, said)
    text = said["ask"][turn.group][turn.wording].format(topic=topic, **values)
    return Draft(about=f"{topic} {values}", asks={"": question(text, 200)}, expected={"request": text, **values})


def score(item: Item, outcome: Outcome) -> Score:
    """1 if the instruction is kept, by an answer that is more than the instruction itself; else 0."""
    return all_or_nothing(keeps(item.group, outcome.text, item.expected), f"does not keep: {item.group}")


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    french = bool(items) and items[0].language == "fr"
    return {
        "a short sentence without capitals": says(
            "on voit cela tous les jours" if french else "people see it every day"
        ),
        "a sentence in capitals": says("ON VOIT CELA TOUS LES JOURS" if french else "PEOPLE SEE IT EVERY DAY"),
        "three lines with dashes": says("- un\n- deux\n- trois" if french else "- one\n- two\n- three"),
        "the instruction's own words, shuffled": quotes_the_question,
        "copies the question": copies_the_question,
    }


def quotes_the_question(item: Item) -> Outcome:
    """A strategy: what the instruction says, backwards, so that it is no copy."""
    return Outcome(text=" ".join(reversed(str(item.expected["request"]).split())), reason="stop")
