"""All that was found in a folder of evidence."""

import math
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

from ouvert.evaluation.analysis.bits import bits_of
from ouvert.evaluation.analysis.confidence import calibrations_of
from ouvert.evaluation.analysis.connections import connections_of
from ouvert.evaluation.analysis.damages import damage_ratios_of, damages_of, window_damages
from ouvert.evaluation.analysis.efforts import efforts_of
from ouvert.evaluation.analysis.limits import limits_of
from ouvert.evaluation.analysis.marks import row_marks
from ouvert.evaluation.analysis.pairs import pairs_of
from ouvert.evaluation.analysis.passes import passes_of
from ouvert.evaluation.analysis.people import limits_of_votes, ranks_of, two_by_two
from ouvert.evaluation.analysis.resources import resources_of
from ouvert.evaluation.analysis.rows import row_of
from ouvert.evaluation.analysis.speeds import Alone, alone_of, blocks_of, speeds_of
from ouvert.evaluation.comparison import Comparison
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Evidence, key_of_answer
from ouvert.evaluation.votes import VoteFile

# Sums differ in their last bits between processors, whose vectors have different widths: that must not show.
DIGITS = 10


def analyse(evidence: Evidence) -> Comparison:
    """What the folder's answers, scores and votes show. The same folder gives the same value, on any day and machine.

    Answers that are not scored count as not given. Raises EvaluationError for evidence that cannot be read, and for
    suites that are not here or make other items by now.
    """
    marks, contestants = row_marks(evidence), evidence.plan.contestants
    rows = [(each, row_of(each)) for each in marks]
    pairs = pairs_of(rows)
    alone = timed_alone(evidence)
    speeds = speeds_of(alone)
    votes = two_by_two(VoteFile(evidence.folder).votes(), evidence.plan.labels)
    windows = window_damages(evidence.lines("damage"))
    found = Comparison(
        plan={}, contestants=(), rows=tuple(row for _, row in rows), pairs=pairs,
        calibrations=calibrations_of(marks), bits=bits_of(marks), efforts=efforts_of(marks, contestants),
        speeds=speeds, resources=resources_of(evidence.plan, alone), passes=passes_of(marks),
        votes=ranks_of(votes), damages=damages_of(windows),
        damage_ratios=damage_ratios_of(windows),
        limits=limits_of(rows, pairs, contestants, speeds, limits_of_votes(votes)),
        connections=connections_of(evidence.receipts()),
    )  # fmt: skip
    plan = evidence.plan.mapping  # as locked: nothing of it is rounded
    return replace(cast("Comparison", rounded(found)), plan=plan, contestants=tuple(plan["contestants"]))


def timed_alone(evidence: Evidence) -> dict[str, Alone]:
    """The answers of each contestant that may be figures of speed. Raises EvaluationError for evidence that cannot be
    read."""
    labels, scores, blocks = evidence.plan.labels, evidence.scores(), blocks_of(evidence.lines("speed"))
    answers = {key_of_answer(each): each for each in evidence.answers()}
    return {label: alone_of(label, blocks, answers, scores, several=len(labels) > 1) for label in labels}


def rounded(value: Any) -> Any:
    """The same value with DIGITS significant digits in every float. Raises EvaluationError for one that is not
    finite."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise EvaluationError(
                f"analysing a comparison: a figure came out as {value}, expected a finite one. An answer holds numbers "
                "that are too large (logprobs, cost): look for it in answers.jsonl, and ask that contestant again."
            )
        return float(f"{value:.{DIGITS}g}")
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: rounded(getattr(value, each.name)) for each in fields(value)})
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(rounded(each) for each in value)
    return value
