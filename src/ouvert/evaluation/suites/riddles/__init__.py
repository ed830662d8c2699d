"""The suite `reasoning-gym`: riddles from the generators of that package, those with one answer, compared strictly.

Source: Stojanovski et al., Reasoning Gym, arXiv 2505.24760. The package is imported, since its generators are wanted,
and only when items are made. Which tasks, and why the others are left out: tasks.toml beside this file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.final_number import final_number
from ouvert.evaluation.suites.generated import all_or_nothing, commonest, copies_the_question, question
from ouvert.evaluation.suites.language import language_of
from ouvert.evaluation.suites.language_data import language_data
from ouvert.evaluation.suites.pinned_files import package_file
from ouvert.evaluation.suites.stated import behind_mark
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.turns import drawn, wording_at

PACKAGE, VERSION, FOLDER_OF_PACKAGE = "reasoning-gym", "0.1.25", "reasoning_gym/__init__.py"
EACH = 100  # questions of a task; always asked for together, since a generator may look at how many are wanted
RIDDLE_TOKENS = 512
INSTRUCTIONS = (
    'End with one line of the form "Answer: …", with nothing but the answer on it.',
    'Your last line must be "Answer: " followed by the answer alone.',
    'Write the answer on the last line, as "Answer: " and then the answer.',
)
QUOTES = " \t.*_`\"'“”"


@cache
def tasks() -> Mapping[str, tuple[str, ...]]:
    """The tasks that are asked, in the order of their names, each with the words that may answer it: () where it is a
    text, ("",) where it is a number. Raises nothing."""
    stated = language_data(Path(__file__).parent, "tasks")
    kinds: dict[str, tuple[str, ...]] = dict.fromkeys(stated["text"]["tasks"], ())
    kinds |= dict.fromkeys(stated["number"]["tasks"], ("",))
    kinds |= {task: tuple(words) for task, words in stated["word"].items()}
    return dict(sorted(kinds.items()))


@dataclass(frozen=True)
class Riddles:
    """Tasks take turns. The package's scorers are never asked."""

    card: Card

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        language_of(self.card, language)
        check_package(self.card.digest)
        wanted = min(max(count, 0), EACH * len(tasks()))
        order = sorted(tasks(), key=lambda task: drawn(seed, task))
        made: dict[str, Any] = {}
        found = []
        for position in range(wanted):
            number, place = divmod(position, len(order))
            task = order[place]
            if task not in made:
                made[task] = dataset(task, seed)
            found.append(self._item(task, seed, number, made[task][number], wording_at(position, 3, len(order))))
        return tuple(found)

    def _item(self, task: str, seed: int, number: int, riddle: Mapping[str, Any], wording: int) -> Item:
        words = tasks()[task]
        kind = "number" if words == ("",) else "word" if words else "text"
        return Item(
            suite=self.card.name,
            id=f"{task}:{seed}:{number}",
            language="en",
            ask=question(f"{riddle['question'].strip()}\n\n{INSTRUCTIONS[wording]}", RIDDLE_TOKENS),
            expected={"kind": kind, "answer": str(riddle["answer"]).strip(), "of": words if kind == "word" else ()},
            cluster=task,
            group=task,
            wording=wording,
        )

    def score(self, item: Item, outcome: Outcome) -> Score:
        if outcome.refused:
            return Score(value=0.0, right=False, note="could not be asked")
        if not outcome.text.strip():
            return Score(value=0.0, right=False, malformed=True, note="empty answer")
        return score_riddle(item.expected, outcome)

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        return {
            "the commonest answer of each task": commonest(items, lambda item: str(item.expected.get("answer", ""))),
            "copies the question": copies_the_question,
            "says nothing": lambda item: Outcome(reason="stop"),
        }

    def describe(self) -> Mapping[str, Any]:
        return {"package": PACKAGE, "version": VERSION, "digest": self.card.digest, "tasks": list(tasks())}


def score_riddle(expected: Mapping[str, Any], outcome: Outcome) -> Score:
    """1 or 0, by the task's kind. Raises nothing."""
    if expected["kind"] == "number":
        number, why = final_number(outcome.text, "en", cut=outcome.reason == "length")
        return all_or_nothing(
            number == as_number(expected["answer"]), why or f"says {number}"[:60], malformed=number is None
        )
    said = plain(behind_mark(outcome.text))
    known = {plain(word) for word in expected["of"]} if expected["kind"] == "word" else {said} - {""}
    return all_or_nothing(said == plain(expected["answer"]), "another answer", malformed=said not in known)


def as_number(written: str) -> Decimal | None:
    """Raises nothing."""
    try:
        return Decimal(written)
    except InvalidOperation:
        return None


def plain(text: str) -> str:
    """A text without capitals, doubled white space, and marks around it. Raises nothing."""
    return " ".join(text.casefold().split()).strip(QUOTES)


def dataset(task: str, seed: int) -> Any:
    """The questions of a task. Raises EvaluationError if the package cannot make them."""
    try:
        gym = import_module("reasoning_gym")
        return gym.create_dataset(task, seed=seed, size=EACH)
    except (ImportError, ValueError) as problem:
        raise EvaluationError(
            f"making questions of reasoning-gym's task {task!r}: {problem}. Install the package again, "
            f"with what it needs: {PACKAGE}=={VERSION} and six."
        ) from problem


@cache
def check_package(digest: str) -> None:
    """Raises EvaluationError unless the installed package is this version, with every file as it was published."""
    folder = package_file(PACKAGE, VERSION, FOLDER_OF_PACKAGE).parent
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    listed = sorted((path.relative_to(folder).as_posix(), sha256(path.read_bytes()).hexdigest()) for path in files)
    found = "sha256:" + sha256(json.dumps(listed).encode()).hexdigest()
    if found != digest:
        raise EvaluationError(
            f"reading the package {PACKAGE} in {folder}: the digest of its files is {found}, that of {VERSION} is "
            f"{digest}. The questions might be others. Install it again."
        )


def suite(card: Card) -> Riddles:
    """Raises nothing; `items` needs the package."""
    return Riddles(card)
