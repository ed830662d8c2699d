"""The suite `stops`: requests that a short answer fulfils. Right is one that ends by itself, and goes in no circles.

What is said is not looked at. A model that was trained without its end of turn never ends an answer: here it shows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.generated import Draft, GeneratedSuite, Turn, question
from ouvert.evaluation.suites.language_data import language_data
from ouvert.evaluation.suites.loops import loops
from ouvert.evaluation.suites.suite import Card, Guess

VERSION = 1
GROUPS = ("sentence", "two", "word", "list")
ANSWER_TOKENS = 160  # four times what two sentences take
ENDED = ("stop", "tool_calls")  # reasons of an answer that ended by itself


def suite(card: Card) -> GeneratedSuite:
    """The suite. It has no settings."""
    return GeneratedSuite(card=card, version=VERSION, groups=GROUPS, draft=draft, scorer=score, guess=guesses)


def draft(turn: Turn) -> Draft:
    """One request about one thing."""
    said = language_data(Path(__file__).parent, turn.language)
    topic, things = turn.draw.one(said["topics"]), turn.draw.one(said["things"])
    text = said["ask"][turn.group][turn.wording].format(topic=topic, things=things)
    about = topic if "{topic}" in said["ask"][turn.group][turn.wording] else things
    return Draft(about=about, asks={"": question(text, ANSWER_TOKENS)}, expected={"wanted": "stopped"}, cluster=about)


def score(item: Item, outcome: Outcome) -> Score:
    """`label`: "stopped", "ran on" (until the limit) or "circles"."""
    if loops(outcome.text):
        return Score(value=0.0, right=False, label="circles", note="says the same again and again")
    if outcome.reason not in ENDED:
        return Score(value=0.0, right=False, label="ran on", note=f"ended by: {outcome.reason}")
    return Score(value=1.0, right=True, label="stopped")


def guesses(items: Sequence[Item]) -> Mapping[str, Guess]:
    """Any short answer ends: the suite is about conduct, and there is nothing to guess."""
    return {"says nothing": lambda item: Outcome(reason="stop")}
