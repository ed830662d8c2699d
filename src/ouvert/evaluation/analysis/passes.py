"""pass@k: of rows with several answers an item."""

from collections.abc import Sequence

from ouvert.evaluation.analysis.marks import Mark, RowMarks
from ouvert.evaluation.analysis.shares import mean_of, share_interval
from ouvert.evaluation.comparison import PassAt
from ouvert.evaluation.statistics import pass_at

KS = (1, 2, 5, 10, 20, 50, 100)


def passes_of(rows: Sequence[RowMarks]) -> tuple[PassAt, ...]:
    """For each k that there are answers for. Raises nothing."""
    return tuple(
        _pass(label, row, k, marks)
        for row in rows
        if row.planned.kind == "chat" and row.is_scored and row.planned.samples > 1 and not row.planned.graded
        for label in row.marks
        if (marks := row.of(label))
        for k in KS
        if k <= row.planned.samples
    )


def _pass(contestant: str, row: RowMarks, k: int, marks: Sequence[Mark]) -> PassAt:
    samples = row.planned.samples
    values = [pass_at(k, samples, sum(score.right for score in mark.scores)) for mark in marks]
    interval = share_interval(values, [mark.cluster for mark in marks])
    return PassAt(
        contestant=contestant, row=row.planned.row, k=k, samples=samples, value=mean_of(values), interval=interval
    )
