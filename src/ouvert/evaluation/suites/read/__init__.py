"""The suite `read`: questions about a short text. Items of one text are a cluster.

Groups: `simple` (a person's attribute, in a text about two people; that something may not be stated is not said), and
about five people: `direct` (a person's attribute), `reversed` (the person with an attribute), `two-step` (an attribute
of the person with another attribute), `compared` (the oldest or youngest), `unstated` (what the text does not say).
"""

from ouvert.evaluation.suites.generated import GeneratedSuite
from ouvert.evaluation.suites.read.answers import guesses, score
from ouvert.evaluation.suites.read.questions import GROUPS, draft
from ouvert.evaluation.suites.suite import Card

VERSION = 1


def suite(card: Card) -> GeneratedSuite:
    """The suite. It has no settings."""
    return GeneratedSuite(card=card, version=VERSION, groups=GROUPS, draft=draft, scorer=score, guess=guesses)
