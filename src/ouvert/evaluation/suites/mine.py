"""The owner's prompts as a suite. They stay on this machine unless the owner says otherwise."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.item import Ask, Chat, Item
from ouvert.evaluation.outcome import Outcome, Score
from ouvert.evaluation.suites.choices import choice_forms, choice_guesses, score_choice
from ouvert.evaluation.suites.final_number import final_number
from ouvert.evaluation.suites.json_values import NotJsonError, json_value, same_value
from ouvert.evaluation.suites.language import language_of
from ouvert.evaluation.suites.own_prompts import MOST_CHOICES, OwnPrompt, read_prompts
from ouvert.evaluation.suites.suite import Card, Guess
from ouvert.evaluation.suites.turns import in_turns

SEARCHED = 20_000  # characters of an answer in which a pattern is looked for
STATED = re.compile(r"^\W*(?:the\s+|la\s+)?(?:final\s+)?(?:answer|réponse)(?:\s+(?:is|est))?\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class Mine:
    """`card.languages` are those that the file has. `count` of `items` is of each form: forms are rows of their own,
    and the owner decides which prompt is asked in which, so that one count over all could leave a row with none."""

    card: Card
    path: Path
    digest: str
    prompts: tuple[OwnPrompt, ...]

    def items(self, language: str, count: int, seed: int) -> tuple[Item, ...]:
        asked = [prompt for prompt in self.prompts if prompt.language == language_of(self.card, language)]
        taken: Counter[str] = Counter()
        found: list[Item] = []
        for prompt in in_turns(asked, seed, lambda prompt: prompt.id, forms_of):
            taken[forms_of(prompt)] += 1
            if taken[forms_of(prompt)] <= count:
                found += self._items_of(prompt)
        return tuple(found)

    def _items_of(self, prompt: OwnPrompt) -> tuple[Item, ...]:
        return tuple(
            Item(
                suite=self.card.name,
                id=prompt.id,
                language=prompt.language,
                ask=ask,
                expected=expected_of(prompt),
                form=form,
                cluster=prompt.cluster,
            )
            for form, ask in asks_of(prompt).items()
        )

    def score(self, item: Item, outcome: Outcome) -> Score:
        if not item.is_scored:
            return Score(value=0.0, right=False, note="for votes only: nothing is expected")
        if outcome.refused:
            return Score(value=0.0, right=False, note="could not be asked")
        if "letter" in item.expected:
            return score_choice(item, outcome)
        return score_answer(item, outcome)

    def guesses(self, items: Sequence[Item]) -> Mapping[str, Guess]:
        most = max((len(item.expected.get("choices", ())) for item in items), default=0)
        commonest = Counter(_said(item) for item in items if item.is_scored).most_common(1)
        silent: dict[str, Guess] = {"says nothing": lambda item: Outcome(reason="stop")}
        if most:
            return {**choice_guesses(min(most, MOST_CHOICES)), **silent}
        if commonest:
            silent["the commonest answer"] = lambda item: Outcome(text=commonest[0][0], reason="stop")
        return silent

    def describe(self) -> Mapping[str, Any]:
        return {"path": str(self.path), "digest": self.digest, "prompts": len(self.prompts)}


def asks_of(prompt: OwnPrompt) -> Mapping[str, Ask]:
    """By form. Choices are asked for in two. Prompts that people only vote on have a form of their own, so that they
    stand in no row with a score. Raises nothing."""
    if prompt.choices:
        return choice_forms(prompt.prompt, prompt.choices, prompt.language or "en", wording=0)
    asked = Chat(
        messages=({"role": "user", "content": prompt.prompt},), max_tokens=prompt.max_tokens, schema=prompt.schema
    )
    if not expected_of(prompt):
        return {"votes": asked}
    return {"": asked} if prompt.schema is None else {"schema": asked}


def forms_of(prompt: OwnPrompt) -> str:
    """The forms in which a prompt is asked, as one text. Raises nothing."""
    return " ".join(asks_of(prompt))


def expected_of(prompt: OwnPrompt) -> Mapping[str, Any]:
    """What the scorer compares with; empty for a prompt that is for votes only. Raises nothing."""
    if prompt.choices:
        return {"letter": ascii_uppercase[prompt.choices.index(prompt.expected.strip())], "choices": prompt.choices}
    if prompt.regex:
        return {"regex": prompt.regex}
    if prompt.expected is None:
        return {}
    return {"value" if prompt.schema is not None else "answer": prompt.expected}


def score_answer(item: Item, outcome: Outcome) -> Score:
    """Strict, by what is expected: a pattern, a JSON value, a number, or a text. Raises nothing."""
    expected = item.expected
    if "regex" in expected:
        right = re.search(expected["regex"], outcome.text[:SEARCHED]) is not None
        return Score(value=float(right), right=right, note="matches" if right else "does not match")
    if "value" in expected:
        return _score_value(expected["value"], outcome)
    if (number := as_number(expected["answer"])) is not None:
        found, why = final_number(outcome.text, item.language or "en", cut=outcome.reason == "length")
        right = found == number
        return Score(value=float(right), right=right, malformed=found is None, note=why or f"says {found}"[:60])
    right = plain(str(expected["answer"])) in (plain(outcome.text), plain(stated(outcome.text)))
    return Score(
        value=float(right),
        right=right,
        malformed=not outcome.text.strip(),
        note="the same" if right else "another answer",
    )


def _score_value(value: Any, outcome: Outcome) -> Score:
    try:
        right = same_value(json_value(outcome.text), value)
    except NotJsonError:
        return Score(value=0.0, right=False, malformed=True, note="no JSON")
    return Score(value=float(right), right=right, note="the same value" if right else "another value")


def as_number(expected: Any) -> Decimal | None:
    """The expected answer as a number, if it is nothing else. Raises nothing."""
    try:
        number = Decimal(str(expected).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def plain(text: str) -> str:
    """A text without what makes it no other answer: capitals, spaces, and the marks around it. Raises nothing."""
    folded = unicodedata.normalize("NFC", text).casefold()
    return " ".join(folded.split()).strip(" .,;:!?\"'“”«»*_`()[]").strip()


def stated(text: str) -> str:
    """What stands behind "Answer:" on the last line that has anything, else the text. Raises nothing."""
    lines = [line for line in text.splitlines() if line.strip()]
    mark = STATED.match(lines[-1]) if lines else None
    return lines[-1][mark.end() :] if mark else text


def _said(item: Item) -> str:
    return str(item.expected.get("answer", ""))


def suite(card: Card, *, path: str | Path, language: str = "") -> Mine:
    """`path`: the file; `language`: of prompts that state none. Raises what `read_prompts` raises, and
    EvaluationError for another language."""
    if language not in card.languages:
        raise EvaluationError(f"opening own prompts: language is {language!r}; expected en, fr, or nothing.")
    prompts, digest = read_prompts(Path(path), language)
    found = tuple(each for each in card.languages if any(prompt.language == each for prompt in prompts))
    return Mine(replace(card, languages=found, digest=digest), Path(path), digest, prompts)
