"""Whether answers and scores hold what their fields say: a folder may come from anybody."""

from dataclasses import fields
from typing import Any

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Key
from ouvert.evaluation.outcome import Answered, Cost, Score


def require_sound_answer(key: Key, answered: Answered) -> None:
    """Raises EvaluationError for log-probabilities and costs that are no numbers, and words that are no text."""
    outcome, cost = answered.outcome, answered.cost
    given: dict[str, tuple[bool, Any]] = {
        "logprobs": (all(map(is_number, outcome.logprobs)), outcome.logprobs),
        "refused": (isinstance(outcome.refused, str), outcome.refused),
        "thoughts": (isinstance(outcome.thoughts, str), outcome.thoughts),
    }
    for each in fields(Cost):
        value = getattr(cost, each.name)
        given[each.name] = (value is None or is_number(value) or each.name == "alone", value)
    _require(key, "answer", "answers.jsonl", given)


def require_sound_score(key: Key, score: Score) -> None:
    """Raises EvaluationError for a value or a confidence that is no share, and for other fields of another kind."""
    _require(key, "score", "scores.jsonl", {
        "value": (is_share(score.value), score.value),
        "right": (isinstance(score.right, bool), score.right),
        "chosen": (isinstance(score.chosen, str), score.chosen),
        "confidence": (score.confidence is None or is_share(score.confidence), score.confidence),
    })  # fmt: skip


def is_number(value: object) -> bool:
    return isinstance(value, float | int)


def is_share(value: object) -> bool:
    return isinstance(value, float | int) and 0 <= value <= 1


def _require(key: Key, what: str, file: str, given: dict[str, tuple[bool, Any]]) -> None:
    for name, (is_sound, value) in given.items():
        if not is_sound:
            raise EvaluationError(
                f"reading the {what} of {key.contestant!s:.80} for {key.row} {key.item}: {name} is {value!r:.40}, "
                f"expected what docs/formats/comparison.md says (a score or confidence: 0 to 1). {file} is damaged: "
                "take it from a copy, or score or ask again."
            )
