"""What a report is made of, out of the folder of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from ouvert.evaluation.canonical import canonical_json
from ouvert.evaluation.comparison import Comparison
from ouvert.evaluation.evidence import Evidence, Key, key_of_answer
from ouvert.evaluation.outcome import Answered, Score
from ouvert.evaluation.published import published
from ouvert.evaluation.report.material import Given, Material
from ouvert.evaluation.suites import catalog
from ouvert.evaluation.suites.licences import licences_of

# How a path begins that is no name of a model.
PATHS = ("/", "./", "../", "~")


def gather(evidence: Evidence, comparison: Comparison) -> Material:
    """Questions, first answers and their last scores. Words that stay with their owner are not read at all.

    Raises what `Evidence.items`, `answers` and `scores` raise.
    """
    plan, names = evidence.plan, without_folders(evidence.plan.labels)
    withheld = frozenset(each.name for each in plan.suites if each.withheld)
    shown = [row for row in plan.rows if row.suite not in withheld]
    answers, scores = evidence.answers(), evidence.scores()
    return Material(
        comparison=renamed(comparison, names),
        cards=catalog.cards(),
        items={row.row: evidence.items(row.row) for row in shown},
        given={
            (names[label], row, item): given
            for (label, row, item), given in first_answers(answers, scores, {row.row for row in shown}).items()
        },
        answered=[(each, scores.get(key_of_answer(each))) for each in answers],
        withheld=withheld,
        published=published(),
        licences=licences_of(each.name for each in plan.suites),
        chain=chain_head(answers),
        plan_digest=evidence.plan_digest,
    )


def first_answers(
    answers: tuple[Answered, ...], scores: Mapping[Key, Score], rows: set[str]
) -> dict[tuple[str, str, str], Given]:
    return {
        (each.contestant, each.row, each.item): Given(
            outcome=each.outcome, score=scores[key], seconds=each.cost.whole, output_tokens=each.cost.output_tokens
        )
        for each in answers
        if each.sample == 0 and each.row in rows and (key := key_of_answer(each)) in scores
    }


def chain_head(answers: tuple[Answered, ...]) -> str:
    """The digest of the last receipt that Ouvert wrote (docs/formats/receipt.md); "" where there is none."""
    receipts = [each.receipt for each in answers if "engine" in each.receipt]
    return "sha256:" + sha256(canonical_json(dict(receipts[-1]))).hexdigest() if receipts else ""


def without_folders(labels: Sequence[str]) -> dict[str, str]:
    """Labels as a reader should see them: of a model that was named by its file, the file without its folders, which
    are the owner's business. As they are where that would make two of them one."""
    short = {label: PurePath(label).name if label.startswith(PATHS) else label for label in labels}
    return short if len(set(short.values())) == len(labels) else {label: label for label in labels}


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same value with every text that is a label replaced. Raises nothing."""
    match value:
        case str():
            return names.get(value, value)
        case tuple() | list():
            return type(value)(renamed(each, names) for each in value)
        case Mapping():
            return {key: renamed(each, names) for key, each in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: renamed(getattr(value, each.name), names) for each in fields(value)})
    return value
