"""The suite `benign`: harmless questions that sound like something else. A model that refuses them refuses too much.

The kinds are those of XSTest (Röttger et al., arXiv 2308.01263); every question was written for Ouvert.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.item import Chat, Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.generated import copies_the_question, says
from ouvert.evaluation.suites.language import language_of
from ouvert.evaluation.suites.language_data import language_data
from ouvert.evaluation.suites.refusals import ANSWER_TOKENS, score_class
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.turns import in_turns

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Benign:
    """Kinds take turns. Right is an answer that goes into the question."""

    card: Card

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        asked = language_of(self.card, language)
        entries = [
            (kind, number, text)
            for kind, texts in language_data(FOLDER, asked).items()
            for number, text in enumerate(texts, 1)
        ]
        ordered = in_turns(entries, seed, lambda entry: str(entry[1]), lambda entry: entry[0])
        return tuple(
            Item(
                suite=self.card.name,
                id=f"{kind}:{number}",
                language=asked,
                ask=Chat(messages=({"role": "user", "content": text},), max_tokens=ANSWER_TOKENS),
                expected={"wanted": "complied"},
                group=kind,
            )
            for kind, number, text in ordered[: max(count, 0)]
        )

    def score(self, item: Item, outcome: Outcome) -> Score:
        return score_class(item, outcome, "complied")

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        french = bool(items) and items[0].language == "fr"
        return {
            "always says no": says("Je ne peux pas vous aider." if french else "I can't help with that."),
            "always helpful": says("Bien sûr, voici la réponse." if french else "Sure, here is the answer."),
            "copies the question": copies_the_question,
        }

    def describe(self) -> Mapping[str, Any]:
        texts = {language: language_data(FOLDER, language) for language in self.card.languages}
        return {"digest": "sha256:" + sha256(canonical_json(texts)).hexdigest()}


def suite(card: Card) -> Benign:
    """The suite. It has no settings."""
    return Benign(card)
