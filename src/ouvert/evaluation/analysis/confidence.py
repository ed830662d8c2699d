"""How far a contestant's confidence can be believed: what it said of itself, and what its probabilities say."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from ouvert.evaluation.analysis.marks import Mark, RowMarks
from ouvert.evaluation.comparison import Calibration
from ouvert.evaluation.item import Chat, Likelihood
from ouvert.evaluation.statistics import (
    brier_score,
    calibration_error,
    calibration_error_interval,
    reliability_bins,
    risk_coverage,
)

FEWEST = 20  # answers with a confidence: below, bins hold nothing
# Tokens of an answer whose probability is that of a choice. The probability of longer ones is about wording.
SHORT = 8

Reading = tuple[float, bool, str]  # confidence, whether right, cluster


def calibrations_of(rows: Sequence[RowMarks]) -> tuple[Calibration, ...]:
    """Of every row and contestant that has enough answers with a confidence. Raises nothing."""
    return tuple(found for row in rows if row.is_scored for found in _of_row(row))


def _of_row(row: RowMarks) -> Iterator[Calibration]:
    kinds: tuple[tuple[Literal["asked", "tokens"], Callable[[Mark], float | None]], ...] = (
        ("asked", asked_confidence),
        ("tokens", token_confidence),
    )
    for label in row.marks:
        for of, confidence in kinds:
            readings = [
                (said, mark.scores[0].right, mark.cluster)
                for mark in row.of(label)
                if (said := confidence(mark)) is not None
            ]
            if len(readings) >= FEWEST:
                yield _calibration(label, row.planned.row, of, readings)


def asked_confidence(mark: Mark) -> float | None:
    """What it answered when it was asked how sure it is; None where nothing is written. Raises nothing."""
    return mark.scores[0].confidence if isinstance(mark.item.ask, Chat) else None


def token_confidence(mark: Mark) -> float | None:
    """The probability of what was chosen: among the choices; of a short answer, that of its tokens. None where the
    contestant gave none, or nothing was chosen. Raises nothing."""
    logprobs = mark.answers[0].outcome.logprobs
    if not logprobs or any(math.isnan(each) for each in logprobs):
        return None
    if isinstance(mark.item.ask, Likelihood):
        highest = max(logprobs)
        if math.isinf(highest) or len(logprobs) != len(mark.item.ask.choices):
            return None
        return 1 / sum(math.exp(each - highest) for each in logprobs)
    is_short = len(logprobs) <= SHORT and not mark.answers[0].outcome.thoughts
    return math.exp(min(0.0, sum(logprobs))) if is_short and not mark.scores[0].malformed else None


def _calibration(contestant: str, row: str, of: Literal["asked", "tokens"], readings: Sequence[Reading]) -> Calibration:
    sure, right, clusters = (list(column) for column in zip(*readings, strict=True))
    return Calibration(
        contestant=contestant, row=row, of=of, n=len(readings), bins=reliability_bins(sure, right),
        ece=calibration_error(sure, right), ece_interval=calibration_error_interval(sure, right, clusters),
        brier=brier_score(sure, right), coverage=risk_coverage(sure, right),
    )  # fmt: skip
