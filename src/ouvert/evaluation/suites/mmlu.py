"""MMLU: 1,000 questions of its test split over all 57 subjects, as the package frugal-llm carries them.

Asked for the letter, and by the likelihood of each choice's text: small models that know some answers cannot name a
letter. Source: Hendrycks et al., arXiv 2009.03300.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.choices import CONTEXTS, choice_forms, choice_guesses, score_choice
from ouvert.evaluation.suites.language import language_of
from ouvert.evaluation.suites.pinned_files import package_file, read_pinned
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.turns import in_turns, wording_at

PACKAGE, VERSION, FILE = "frugal-llm", "0.3.0", "frugal_llm/tasks/mmlu-v1.jsonl"
CHOICES = 4


@dataclass
class Mmlu:
    """Its choices stay in the file's order, so that a preference for a letter can be seen."""

    card: Card
    _entries: list[dict[str, Any]] = field(default_factory=list)

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        language_of(self.card, language)
        entries = in_turns(self._read(), seed, lambda entry: entry["id"], lambda entry: entry["subject"])
        groups = len({entry["subject"] for entry in entries})
        return tuple(
            item
            for position, entry in enumerate(entries[: max(count, 0)])
            for item in self._both_forms(entry, wording_at(position, len(CONTEXTS["en"]), groups))
        )

    def score(self, item: Item, outcome: Outcome) -> Score:
        return score_choice(item, outcome)

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        return choice_guesses(CHOICES)

    def describe(self) -> Mapping[str, Any]:
        return {"package": PACKAGE, "version": VERSION, "file": FILE, "digest": self.card.digest}

    def _read(self) -> list[dict[str, Any]]:
        if not self._entries:
            content = read_pinned(package_file(PACKAGE, VERSION, FILE), self.card.digest, f"{PACKAGE} {VERSION}")
            self._entries = [json.loads(line) for line in content.decode("utf-8").splitlines()]
        return self._entries

    def _both_forms(self, entry: Mapping[str, Any], wording: int) -> tuple[Item, Item]:
        question, choices = entry["question"].strip(), tuple(choice.strip() for choice in entry["choices"])
        letter, likelihood = (
            Item(
                suite=self.card.name,
                id=entry["id"],
                language="en",
                ask=ask,
                expected={"letter": entry["answer"], "choices": choices},
                form=form,
                cluster=entry["subject"],
                group=entry["subject"],
                wording=wording,
            )
            for form, ask in choice_forms(question, choices, "en", wording).items()
        )
        return letter, likelihood


def suite(card: Card) -> Mmlu:
    """Raises nothing; `items` reads the file."""
    return Mmlu(card)
