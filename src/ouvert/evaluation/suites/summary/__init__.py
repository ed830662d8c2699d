"""The suite `summary`: facts kept, lost and invented. Groups: `facts-3`, `facts-6`, `facts-9`."""

from ouvert.evaluation.suites.generated import GeneratedSuite
from ouvert.evaluation.suites.suite import Card
from ouvert.evaluation.suites.summary.counting import guesses, score
from ouvert.evaluation.suites.summary.texts import GROUPS, draft

VERSION = 1


def suite(card: Card) -> GeneratedSuite:
    """The suite. It has no settings."""
    return GeneratedSuite(card=card, version=VERSION, groups=GROUPS, draft=draft, scorer=score, guess=guesses)
