"""Which questions a check asks: as a plan, the same for every adapter of a model, so that its answers are kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from ouvert.assistant import Model
from ouvert.evaluation.contestants.contestant import ContestantFacts
from ouvert.evaluation.contestants.here import Here, facts_of
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import digest_of_items
from ouvert.evaluation.item import Item
from ouvert.evaluation.pace import Pace, foreseen
from ouvert.evaluation.plan import Plan, PlannedRow, PlannedSuite
from ouvert.evaluation.suites.catalog import open_suite
from ouvert.evaluation.suites.suite import Suite

SEED = 16  # decides the items: one for all checks, or base results could not be kept
# Eight answers are computed at once, and take a third of the time that one after the other would (measured).
TOGETHER = 3.0

# Row -> how many items. Short questions first, so that a check that is stopped early has something of everything.
COUNTS: Mapping[str, int] = {
    "reading/en/text": 6,
    "reading/fr/text": 6,
    "french/fr": 20,
    "ladder/en": 24,
    "read/en": 12,
    "obey/en": 14,
    "json/en/free": 30,
    "tools/en/free": 20,
    "stops/en": 100,
    "refusals/en": 100,
    "benign/en": 100,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows that can be asked here with their suites and items; `missing`: why others cannot, by row."""

    rows: tuple[PlannedRow, ...]
    suites: tuple[PlannedSuite, ...]
    items: Mapping[str, tuple[Item, ...]]
    missing: Mapping[str, str] = field(default_factory=dict)


def questions(counts: Mapping[str, int] = COUNTS) -> Asked:
    """The rows of a check.

    Raises what `open_suite` and `Suite.items` raise for our own suites; a package that is not here is in `missing`.
    """
    rows: list[PlannedRow] = []
    suites: dict[str, PlannedSuite] = {}
    items: dict[str, tuple[Item, ...]] = {}
    missing: dict[str, str] = {}
    for row, count in counts.items():
        name, language, form = [*row.split("/"), "", ""][:3]
        suite = open_suite(name)
        try:
            found = tuple(each for each in suite.items(language, count, SEED) if each.form == form)
        except EvaluationError as problem:
            if suite.card.kind != "package":
                raise
            missing[row] = str(problem)
            continue
        items[found[0].row] = found
        rows.append(planned_row(found, count, form))
        suites.setdefault(name, planned_suite(suite))
    return Asked(tuple(rows), tuple(suites.values()), items, missing)


def planned_row(items: tuple[Item, ...], count: int, form: str) -> PlannedRow:
    first = items[0]
    return PlannedRow(
        row=first.row, suite=first.suite, language=first.language, form=form, kind=first.kind, count=count, seed=SEED,
        items=digest_of_items(items),
    )  # fmt: skip


def planned_suite(suite: Suite) -> PlannedSuite:
    card = suite.card
    return PlannedSuite(
        name=card.name, scorer=card.scorer, licence=card.licence, source=card.source,
        made=dict(suite.describe()), withheld=card.stays,
    )  # fmt: skip


def plan_of(contestants: Sequence[ContestantFacts], asked: Asked) -> Plan:
    """The plan of a check. Raises nothing."""
    return Plan(
        ouvert=version("ouvert"), written=datetime.now(UTC).isoformat(timespec="seconds"), seed=SEED,
        contestants=tuple(contestants), suites=asked.suites, rows=asked.rows, languages=("en", "fr"),
        purposes=("check",), measured_by="a check after tuning: counts are fixed",
    )  # fmt: skip


def asks_the_same(plan: Plan, other: Plan) -> bool:
    """Whether the same is asked of the same: then what was answered stays. Raises nothing."""
    same = [(facts.label, facts.digest) for facts in plan.contestants] == [
        (facts.label, facts.digest) for facts in other.contestants
    ]
    return same and plan.rows == other.rows and plan.suites == other.suites


def check_seconds(model: Model) -> float:
    """How long the questions take an adapter of this model, foreseen from a short read and a few tokens written; the
    base takes as long, once. Raises EngineError, and what `questions` raises."""
    contestant, asked = Here(model, facts_of(model, "", about={}), release=lambda: None), questions()
    pace = Pace("foreseen from a short read and a few tokens, without asking")
    foreseen(contestant, asked.items, pace)
    return sum(pace.of("", row) * len(items) for row, items in asked.items.items()) / TOGETHER
