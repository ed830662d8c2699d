"""Why less may be concluded than it seems: which general limits hold here, and for what."""

from collections.abc import Callable, Mapping, Sequence

from ouvert.evaluation.analysis.marks import RowMarks
from ouvert.evaluation.comparison import LIMITS, Pair, Row, Speed
from ouvert.evaluation.contestants.contestant import ContestantFacts

FEW_CLUSTERS = 10
VISIBLE = 0.10  # what a comparison should be able to show
FEW_ITEMS = 100  # where there is no pair: a share's interval is wider than ten points to either side


def limits_of(
    rows: Sequence[tuple[RowMarks, Row]],
    pairs: Sequence[Pair],
    contestants: Sequence[ContestantFacts],
    speeds: Sequence[Speed],
    votes: Mapping[str, tuple[str, ...]],
) -> dict[str, tuple[str, ...]]:
    """By key of LIMITS, in their order; those that hold nowhere are left out. Raises nothing."""
    coarse = {pair.row for pair in pairs if pair.visible > VISIBLE}
    compared = {pair.row for pair in pairs}
    holds: dict[str, Callable[[RowMarks, Row], bool]] = {
        "floors": lambda marks, row: any(score.floor for score in row.scores),
        "few_items": lambda marks, row: row.row in coarse or (row.row not in compared and _few(row)),
        "few_clusters": lambda marks, row: _few_clusters(marks),
        "one_wording": lambda marks, row: bool(row.scores) and len({item.wording for item in marks.items}) < 2,
        "public": lambda marks, row: marks.suite.card.kind in ("package", "folder"),
        "letter_bias": lambda marks, row: any(score.biased for score in row.scores),
        "refused": lambda marks, row: any(mark.refused for label in marks.marks for mark in marks.of(label)),
        "incomplete": lambda marks, row: any(len(each) < len(marks.items) for each in marks.marks.values()),
        "exploratory": lambda marks, row: bool(row.scores) and not row.primary,
    }
    found = {key: tuple(row.row for marks, row in rows if test(marks, row)) for key, test in holds.items()}
    found["remote"] = tuple(facts.label for facts in contestants if facts.where == "remote")
    found["busy_machine"] = tuple(speed.contestant for speed in speeds if speed.withheld == "machine_drifted")
    found |= votes
    return {key: found[key] for key in LIMITS if found.get(key)}


def _few(row: Row) -> bool:
    return any(score.n < FEW_ITEMS for score in row.scores)


def _few_clusters(marks: RowMarks) -> bool:
    """Few items alone are said as such."""
    count = len({item.cluster or item.id for item in marks.items})
    return count < FEW_CLUSTERS and (count < len(marks.items) or marks.planned.kind == "text")
