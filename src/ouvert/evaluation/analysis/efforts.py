"""What thinking longer costs and brings: one curve a model."""

from collections.abc import Mapping, Sequence

from ouvert.evaluation.analysis.marks import Mark, RowMarks
from ouvert.evaluation.analysis.pairs import ALPHA, shown_difference
from ouvert.evaluation.analysis.shares import interval_of, mean_of
from ouvert.evaluation.comparison import EffortPoint
from ouvert.evaluation.contestants.contestant import ContestantFacts
from ouvert.evaluation.outcome import Cost
from ouvert.evaluation.statistics import holm

ORDER = ("none", "minimal", "low", "medium", "high", "xhigh")


def efforts_of(rows: Sequence[RowMarks], contestants: Sequence[ContestantFacts]) -> tuple[EffortPoint, ...]:
    """Every effort of models that were asked with several, over the primaries (over all rows, where there are none), on
    the items that all efforts of the model have answered. Raises nothing."""
    asked = [row for row in rows if row.planned.kind == "chat" and row.is_scored]
    deciding = [row for row in asked if row.planned.primary] or asked
    models: dict[str, list[ContestantFacts]] = {}
    for facts in contestants:
        if facts.identity.get("effort"):
            models.setdefault(facts.name, []).append(facts)
    return tuple(
        point for name, efforts in models.items() if len(efforts) > 1 for point in _curve(name, efforts, deciding)
    )


def _curve(model: str, efforts: Sequence[ContestantFacts], rows: Sequence[RowMarks]) -> list[EffortPoint]:
    ordered = sorted(efforts, key=lambda facts: _place(str(facts.identity["effort"])))
    marks = _on_common_items([facts.label for facts in ordered], rows)
    if not marks[ordered[0].label]:
        return []
    knee = _knee([marks[facts.label] for facts in ordered])
    return [
        _point(model, facts, marks[facts.label], is_knee=place == knee) for place, facts in enumerate(ordered)
    ]  # fmt: skip


def _place(effort: str) -> int:
    return ORDER.index(effort) if effort in ORDER else len(ORDER)


def _on_common_items(labels: Sequence[str], rows: Sequence[RowMarks]) -> Mapping[str, list[Mark]]:
    marks: dict[str, list[Mark]] = {label: [] for label in labels}
    for row in rows:
        for item in row.items:
            if all(item.id in row.marks[label] for label in labels):
                for label in labels:
                    marks[label].append(row.marks[label][item.id])
    return marks


def _knee(curves: Sequence[Sequence[Mark]]) -> int:
    """The lowest effort that no higher one was shown to beat, Holm over those that are higher."""
    for place, marks in enumerate(curves):
        higher = curves[place + 1 :]
        shown = holm([shown_difference(more, marks) for more in higher])
        gains = [mean_of([mark.value for mark in more]) - mean_of([mark.value for mark in marks]) for more in higher]
        if not any(p <= ALPHA and gain > 0 for p, gain in zip(shown, gains, strict=True)):
            return place
    return len(curves) - 1


def _point(model: str, facts: ContestantFacts, marks: Sequence[Mark], *, is_knee: bool) -> EffortPoint:
    costs = [answer.cost for mark in marks for answer in mark.answers]
    alone = [cost for cost in costs if cost.alone]
    return EffortPoint(
        model=model, effort=str(facts.identity["effort"]), contestant=facts.label,
        share=mean_of([mark.value for mark in marks]), interval=interval_of(marks),
        output_tokens=_mean(costs, "output_tokens") or 0.0, thought_tokens=_mean(costs, "thought_tokens") or 0.0,
        seconds=_mean(alone, "whole"), joules=_mean(alone, "joules"), knee=is_knee,
    )  # fmt: skip


def _mean(costs: Sequence[Cost], name: str) -> float | None:
    """Of those where it is known."""
    known = [float(value) for cost in costs if (value := getattr(cost, name)) is not None]
    return mean_of(known) if known else None
