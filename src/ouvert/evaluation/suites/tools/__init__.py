"""The suite `tools`: the right tool with the right arguments, or none where none fits.

Groups: `call` (one tool is offered, one argument), `pick` (four tools, one argument), `arguments` (four tools, two or
three arguments), `spelled` (eight tools, numbers in words), `none` (four tools, none fits). Forms: `free` and `schema`.
"""

from ouvert.evaluation.suites.generated import GeneratedSuite
from ouvert.evaluation.suites.suite import Card
from ouvert.evaluation.suites.tools.guessing import guesses
from ouvert.evaluation.suites.tools.requests import draft
from ouvert.evaluation.suites.tools.scoring import score

VERSION = 1
GROUPS = ("call", "none", "pick", "arguments", "spelled")


def suite(card: Card) -> GeneratedSuite:
    """The suite. It has no settings."""
    return GeneratedSuite(card=card, version=VERSION, groups=GROUPS, draft=draft, scorer=score, guess=guesses)
