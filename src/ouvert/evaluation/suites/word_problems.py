"""Sums told as stories, GSM8K in English and MGSM in French: work it out, and end with the number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ouvert.evaluation.item import Chat, Item, Languages
from ouvert.evaluation.outcome import Outcome
from ouvert.evaluation.suites.final_number import numbers_in
from ouvert.evaluation.suites.suite import Guess
from ouvert.evaluation.suites.turns import in_turns, wording_at

INSTRUCTIONS = {
    "en": (
        'Work it out step by step. Write the result on the last line, as "Answer: NUMBER".',
        'Think through the problem, then end with one line of the form "Answer: NUMBER".',
        'Solve this. Your last line must be "Answer: " followed by the number alone.',
    ),
    "fr": (
        "Résous le problème étape par étape. Mets le résultat à la dernière ligne, sous la forme « Réponse : NOMBRE ».",
        "Réfléchis au problème, puis termine par une ligne de la forme « Réponse : NOMBRE ».",
        "Résous ceci. Ta dernière ligne doit être « Réponse : » suivie du nombre seul.",
    ),
}
MARKS = {"en": "Answer: ", "fr": "Réponse : "}
SOLUTION_TOKENS = 512  # published solutions have up to about 250


@dataclass(frozen=True, slots=True)
class Problem:
    """A story with the number that it comes to."""

    id: str
    question: str
    number: str


def problem_items(
    suite: str, language: Languages, problems: Sequence[Problem], count: int, seed: int
) -> tuple[Item, ...]:
    """The first `count` of the order that the seed decides. Raises nothing."""
    return tuple(
        problem_item(suite, language, problem, wording_at(position, len(INSTRUCTIONS[language])))
        for position, problem in enumerate(in_turns(problems, seed, lambda each: each.id)[: max(count, 0)])
    )


def problem_item(suite: str, language: Languages, problem: Problem, wording: int) -> Item:
    """One story, in one of three wordings. Raises nothing."""
    return Item(
        suite=suite,
        id=problem.id,
        language=language,
        ask=Chat(
            messages=({"role": "user", "content": f"{problem.question}\n\n{INSTRUCTIONS[language][wording]}"},),
            max_tokens=SOLUTION_TOKENS,
        ),
        expected={"number": problem.number, "question": problem.question},
        cluster=problem.id,
        wording=wording,
    )


def problem_guesses() -> Mapping[str, Guess]:
    """The last, the largest and the sum of the numbers in the question, and silence."""
    return {
        "says nothing": lambda item: Outcome(reason="stop"),
        "the last number of the question": lambda item: _state(item, _numbers(item)[-1]),
        "the largest number of the question": lambda item: _state(item, max(_numbers(item))),
        "the sum of the question's numbers": lambda item: _state(item, sum(_numbers(item), Decimal(0))),
    }


def _numbers(item: Item) -> list[Decimal]:
    return numbers_in(item.expected["question"], item.language) or [Decimal(0)]


def _state(item: Item, number: Decimal) -> Outcome:
    said = f"{number:f}" if item.language == "en" else f"{number:f}".replace(".", ",")
    return Outcome(text=MARKS[item.language] + said, reason="stop")
