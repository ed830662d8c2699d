"""The suite `french`: pairs of sentences of which one is right; the right one has to be likelier.

Groups are what a pair is about. There is nothing to write, so models far too small to answer are above chance.
"""

from ouvert.evaluation.suites.french.choosing import guesses, score
from ouvert.evaluation.suites.french.pairs import PAIRS, draft
from ouvert.evaluation.suites.generated import GeneratedSuite
from ouvert.evaluation.suites.suite import Card

VERSION = 1


def suite(card: Card) -> GeneratedSuite:
    """The suite. It has no settings."""
    return GeneratedSuite(card=card, version=VERSION, groups=tuple(PAIRS), draft=draft, scorer=score, guess=guesses)
