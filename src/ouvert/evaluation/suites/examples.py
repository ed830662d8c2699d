"""The suite `examples`: conversations of the owner's own, answered side by side and not scored.

JSON lines, each with `messages` in OpenAI's shape, `tools` where there are some, and `wanted`, the answer that an
example has: a file of them, or the lines themselves, as the check after tuning has them of what was kept apart.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Chat, Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.suite import Card, Guess

FIELDS = ("messages", "tools", "wanted")
ANSWER_TOKENS = 256


@dataclass(frozen=True)
class Examples:
    """Its items have nothing expected, and so no score: people look at them."""

    card: Card
    path: str
    lines: tuple[str, ...]

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        """In their order: who wrote them down has drawn them."""
        return tuple(self._item(line) for line in read_examples(self._text(), self._place)[: max(count, 0)])

    def score(self, item: Item, outcome: Outcome) -> Score:
        return Score(value=0.0, right=False, note="looked at, not scored")

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        return {}

    def describe(self) -> Mapping[str, Any]:
        return {"digest": "sha256:" + sha256(self._text().encode("utf-8", "replace")).hexdigest()}

    def _item(self, line: Mapping[str, Any]) -> Item:
        ask = Chat(
            messages=tuple(line["messages"]), tools=tuple(line.get("tools") or ()), max_tokens=ANSWER_TOKENS
        )  # fmt: skip
        name = sha256(canonical_json(line)).hexdigest()[:12]
        labels = {"wanted": str(line.get("wanted", ""))}
        return Item(suite=self.card.name, id=name, language="", ask=ask, expected={}, labels=labels)

    @property
    def _place(self) -> str:
        return self.path or "the plan"

    def _text(self) -> str:
        """Raises EvaluationError where it cannot be read."""
        if self.lines:
            return "\n".join(self.lines)
        try:
            return Path(self.path).read_text(encoding="utf-8")
        except (OSError, ValueError) as problem:
            raise EvaluationError(
                f"reading examples from {self.path}: {problem}, expected a file of JSON lines. Name another."
            ) from None


def read_examples(text: str, place: str) -> list[dict[str, Any]]:
    """Raises EvaluationError for a line that is no example, by its number, and where there is none."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            read = json.loads(line)
        except (ValueError, RecursionError):
            read = None
        messages = read.get("messages") if isinstance(read, dict) else None
        well = isinstance(messages, list) and messages and all(isinstance(each, dict) for each in messages)
        if not well or not isinstance(read, dict) or set(read) - set(FIELDS):
            raise EvaluationError(
                f"reading examples from {place}, line {number}: expected an object with `messages` (a list of OpenAI's "
                "messages), and `tools` and `wanted` where there are some. Correct the line."
            )
        found.append(read)
    if not found:
        raise EvaluationError(f"reading examples from {place}: there is none in it, expected one line at least.")
    return found


def suite(card: Card, path: str = "", lines: Sequence[str] = ()) -> Examples:
    """`path`: of the file; or its `lines`. Raises nothing; `items` reads them."""
    return Examples(card, path, tuple(lines))
