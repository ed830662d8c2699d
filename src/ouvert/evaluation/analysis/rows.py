"""Scores of each contestant in a row, beside what guessing gets."""

from collections import Counter
from collections.abc import Mapping, Sequence

from ouvert.evaluation.analysis.letters import biased_letter, chosen_letters
from ouvert.evaluation.analysis.marks import Mark, RowMarks
from ouvert.evaluation.analysis.shares import interval_of, mean_of
from ouvert.evaluation.comparison import GroupScore, Interval, Row, RowScore
from ouvert.evaluation.item import Item
from ouvert.evaluation.suites.suite import Guess

CHANCE = "chance"
FOLDS = 5


def row_of(row: RowMarks) -> Row:
    """Raises nothing. A row of texts has no scores (see `bits`), nor has one that people only vote on."""
    planned = row.planned
    scores: tuple[RowScore, ...] = ()
    if row.is_scored:
        baseline, guess = baseline_of(row)
        scores = tuple(
            score_of(row, label, baseline, guess) for label, marks in row.marks.items() if marks
        )  # fmt: skip
    return Row(
        row=planned.row, suite=planned.suite, language=planned.language, form=planned.form, purposes=planned.purposes,
        primary=planned.primary, graded=planned.graded, scores=scores,
    )  # fmt: skip


def baseline_of(row: RowMarks) -> tuple[float, str]:
    """The better of chance and of the best trivial strategy on these items, and its name. Raises nothing.

    Strategies may look at what is usually right ("the commonest answer"), but not at the item that they answer: each is
    made from the items of other folds. Else, with few items of many groups, each item would be the commonest.
    """
    chance = row.suite.card.chance.get(row.planned.form)
    found = {} if chance is None else {CHANCE: chance}
    scores: dict[str, list[float]] = {}
    folds = folds_of(row.items)
    for fold in sorted(set(folds)):
        known = [item for item, place in zip(row.items, folds, strict=True) if place != fold]
        asked = [item for item, place in zip(row.items, folds, strict=True) if place == fold]
        for name, guess in row.suite.guesses(known).items():
            scores.setdefault(name, []).extend(_guessed(row, guess, item) for item in asked)
    found |= {name: sum(each) / len(row.items) for name, each in scores.items()}
    # Of several as good, the first: chance before strategies.
    best = max(found, key=lambda name: found[name], default=CHANCE)
    return found.get(best, 0.0), best


def folds_of(items: Sequence[Item]) -> list[int]:
    """A number below FOLDS for each item: those of a group take turns. Raises nothing."""
    seen: Counter[str] = Counter()
    folds = []
    for item in items:
        folds.append(seen[item.group] % FOLDS)
        seen[item.group] += 1
    return folds


def _guessed(row: RowMarks, guess: Guess, item: Item) -> float:
    score = row.suite.score(item, guess(item))
    return score.value if row.planned.graded else float(score.right)


def score_of(row: RowMarks, label: str, baseline: float, guess: str) -> RowScore:
    """Raises ZeroDivisionError for a contestant without marks."""
    marks = row.of(label)
    interval = interval_of(marks)
    chosen = chosen_letters(row, marks)
    return RowScore(
        contestant=label, n=len(marks), right=sum(mark.right for mark in marks),
        share=mean_of([mark.value for mark in marks]), interval=interval, baseline=baseline, guess=guess,
        floor=interval.low <= baseline, malformed=_count(marks, "malformed"),
        refused=sum(mark.refused for mark in marks),
        cut=sum(any(each.outcome.reason == "length" for each in mark.answers) for mark in marks),
        wordings=wordings_of(marks), groups=groups_of(marks), chosen=chosen,
        biased=biased_letter(marks) if chosen else "",
    )  # fmt: skip


def wordings_of(marks: Sequence[Mark]) -> Interval | None:
    """The lowest and the highest share by paraphrase of the instruction; None where there is one. Raises nothing."""
    by_wording = _divided(marks, {mark.item.id: str(mark.item.wording) for mark in marks})
    if len(by_wording) < 2:
        return None
    shares = [mean_of([mark.value for mark in some]) for some in by_wording.values()]
    return Interval(min(shares), max(shares))


def groups_of(marks: Sequence[Mark]) -> tuple[GroupScore, ...]:
    """Each group, in the order of its first item. Raises nothing."""
    by_group = _divided(marks, {mark.item.id: mark.item.group for mark in marks})
    return tuple(
        GroupScore(group=group, n=len(some), share=mean_of([mark.value for mark in some]), interval=interval_of(some))
        for group, some in by_group.items()
        if group
    )


def _divided(marks: Sequence[Mark], part: Mapping[str, str]) -> dict[str, list[Mark]]:
    parts: dict[str, list[Mark]] = {}
    for mark in marks:
        parts.setdefault(part[mark.item.id], []).append(mark)
    return parts


def _count(marks: Sequence[Mark], flaw: str) -> int:
    """Items with an answer of which the scorer says so."""
    return sum(any(getattr(score, flaw) for score in mark.scores) for mark in marks)
