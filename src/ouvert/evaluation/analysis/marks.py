"""The scores of a comparison, sorted: by row, contestant and item, as every analysis takes them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ouvert.evaluation.analysis.soundness import require_sound_answer, require_sound_score
from ouvert.evaluation.evidence import Evidence, Key
from ouvert.evaluation.item import Item
from ouvert.evaluation.outcome import Answered, Score
from ouvert.evaluation.plan import PlannedRow
from ouvert.evaluation.suites.suite import Suite


@dataclass(frozen=True, slots=True)
class Mark:
    """What one contestant made of one item. `values`: one an answer, 0 to 1: the score of graded suites, else 1 where
    it is right."""

    item: Item
    answers: tuple[Answered, ...]
    scores: tuple[Score, ...]
    values: tuple[float, ...]

    @property
    def value(self) -> float:
        """The mean of all answers to the item: items are what is independent, not answers (Miller, arXiv 2411.00640).
        Raises nothing."""
        return sum(self.values) / len(self.values)

    @property
    def right(self) -> bool:
        """Whether at least half of its answers are right. Raises nothing."""
        return 2 * sum(score.right for score in self.scores) >= len(self.scores)

    @property
    def cluster(self) -> str:
        """What it shares with other items; its own id where it shares nothing. Raises nothing."""
        return self.item.cluster or self.item.id

    @property
    def refused(self) -> bool:
        """Whether the contestant could not be asked. Raises nothing."""
        return bool(self.answers[0].outcome.refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMarks:
    """A row: its plan, its suite, and the marks of each contestant by item, all in the plan's order.

    An item without all its answers, scored, has no mark.
    """

    planned: PlannedRow
    suite: Suite
    items: tuple[Item, ...]
    marks: Mapping[str, Mapping[str, Mark]]

    @property
    def is_scored(self) -> bool:
        """Whether answers are right or wrong: not of texts that are read, nor of prompts that people only vote on.

        Raises nothing.
        """
        return any(item.is_scored for item in self.items)

    @property
    def binary(self) -> bool:
        """Whether an item is either right or wrong, and nothing between. Raises nothing."""
        return not self.planned.graded and self.planned.samples == 1

    def of(self, contestant: str) -> list[Mark]:
        """The contestant's marks, in the items' order. Raises nothing."""
        return list(self.marks[contestant].values())

    def common(self, first: str, second: str) -> list[tuple[Mark, Mark]]:
        """The marks of both on every item that both have answered. Raises nothing."""
        others = self.marks[second]
        return [(mark, others[item]) for item, mark in self.marks[first].items() if item in others]


def row_marks(evidence: Evidence) -> tuple[RowMarks, ...]:
    """Every row of the plan. Raises EvaluationError for evidence that cannot be read, and suites that are missing."""
    answers = {
        Key(each.contestant, each.row, each.item, each.sample): each for each in evidence.answers()
    }  # fmt: skip
    scores = evidence.scores()
    for key, answered in answers.items():
        require_sound_answer(key, answered)
    for key, score in scores.items():
        require_sound_score(key, score)
    return tuple(
        _row(planned, evidence.suite(planned.suite), evidence.items(planned.row), evidence.plan.labels, answers, scores)
        for planned in evidence.plan.rows
    )


def _row(
    planned: PlannedRow,
    suite: Suite,
    items: tuple[Item, ...],
    labels: Iterable[str],
    answers: Mapping[Key, Answered],
    scores: Mapping[Key, Score],
) -> RowMarks:
    needs_scores = planned.kind != "text"  # a text is read, there is nothing to score
    marks: dict[str, dict[str, Mark]] = {}
    for label in labels:
        marks[label] = {}
        for item in items:
            keys = [Key(label, planned.row, item.id, sample) for sample in range(planned.samples)]
            if all(key in answers and (key in scores or not needs_scores) for key in keys):
                given = tuple(scores[key] for key in keys if key in scores)
                values = _values(given, graded=planned.graded)
                marks[label][item.id] = Mark(item, tuple(answers[key] for key in keys), given, values)
    return RowMarks(planned=planned, suite=suite, items=items, marks=marks)


def _values(scores: Sequence[Score], *, graded: bool) -> tuple[float, ...]:
    return tuple(score.value if graded else float(score.right) for score in scores)
