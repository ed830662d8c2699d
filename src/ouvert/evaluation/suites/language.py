"""Which languages a suite has."""

from typing import cast

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Languages
from ouvert.evaluation.suites.suite import Card


def language_of(card: Card, language: str) -> Languages:
    """The language, if the suite has it. Raises EvaluationError if not."""
    if language not in card.languages:
        raise EvaluationError(
            f"making items of the suite {card.name!r} in {language!r}: it has {', '.join(map(repr, card.languages))}."
        )
    return cast("Languages", language)
