"""GSM8K: the 1,319 stories of its test split, as the package frugal-llm carries them.

Source: Cobbe et al., Training Verifiers to Solve Math Word Problems, arXiv 2110.14168.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.final_number import score_number
from ouvert.evaluation.suites.language import language_of
from ouvert.evaluation.suites.pinned_files import package_file, read_pinned
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.word_problems import Problem, problem_guesses, problem_items

PACKAGE, VERSION, FILE = "frugal-llm", "0.3.0", "frugal_llm/tasks/gsm8k-v1.jsonl"


@dataclass(frozen=True)
class Gsm8k:
    """The final number decides; the way to it is not judged."""

    card: Card

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        asked = language_of(self.card, language)
        content = read_pinned(package_file(PACKAGE, VERSION, FILE), self.card.digest, f"{PACKAGE} {VERSION}")
        entries = [json.loads(line) for line in content.decode("utf-8").splitlines()]
        problems = [Problem(entry["id"], entry["question"].strip(), entry["answer"]) for entry in entries]
        return problem_items(self.card.name, asked, problems, count, seed)

    def score(self, item: Item, outcome: Outcome) -> Score:
        return score_number(item, outcome)

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        return problem_guesses()

    def describe(self) -> Mapping[str, Any]:
        return {"package": PACKAGE, "version": VERSION, "file": FILE, "digest": self.card.digest}


def suite(card: Card) -> Gsm8k:
    """Raises nothing; `items` reads the file."""
    return Gsm8k(card)
