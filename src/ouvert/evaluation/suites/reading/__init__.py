"""The suite `reading`: pages of our own, the same in English and in French, read and not answered.

What counts is how many bits a contestant needs for each byte of a text: the only likelihood that may be compared
between models whose tokens differ. The pages were written for this suite: no older model has read them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.item import Item, Text
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.language import language_of
from ouvert.evaluation.suites.language_data import language_data
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.turns import in_turns

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Pages:
    """Its items have nothing expected, and so no score: their log-probabilities are what is wanted."""

    card: Card

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        asked = language_of(self.card, language)
        pages = language_data(FOLDER, asked)
        return tuple(
            Item(
                suite=self.card.name,
                id=name,
                language=asked,
                ask=Text(text=pages[name]["text"].strip()),
                expected={},
                form="text",
                cluster=name,
                labels={"title": pages[name]["title"]},
            )
            for name in in_turns(pages, seed, str)[: max(count, 0)]
        )

    def score(self, item: Item, outcome: Outcome) -> Score:
        return Score(value=0.0, right=False, note="read, not answered")

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        return {}

    def describe(self) -> Mapping[str, Any]:
        texts = {language: language_data(FOLDER, language) for language in self.card.languages}
        return {"digest": "sha256:" + sha256(canonical_json(texts)).hexdigest()}


def suite(card: Card) -> Pages:
    """The suite. It has no settings."""
    return Pages(card)
