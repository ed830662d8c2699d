"""What a comparison will ask, as a value: locked in plan.toml before the first answer. docs/formats/comparison.md.

`planning` makes one; here is what it holds, and how it is written and read.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Self

from ouvert.evaluation.contestants.contestant import ContestantFacts
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.field_types import require_field_types
from ouvert.store import as_toml

FORM = 1  # the number behind `comparison` in plan.toml


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSuite:
    """A suite, and what it takes to make it again: `open_suite(name, **settings)` has to describe itself as `made`.

    `withheld`: its words stay with their owner, in private.jsonl. `remote`: they may go to a contestant elsewhere.
    """

    name: str
    scorer: str
    licence: str
    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    made: Mapping[str, Any] = field(default_factory=dict)  # Suite.describe()
    withheld: bool = False
    remote: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRow:
    """One suite in one language and form. `count` items are asked of every contestant, `samples` times each.

    `seed` decides which items; `items` is the digest over theirs, in order. `alone`: how many of them, from the first
    on, are asked alone, for speed. `margin`: a smaller difference is none (shares). `visible`: the smallest difference
    that so many items show in four of five runs, where a fifth of them differs. `seconds`: foreseen, of all
    contestants together.
    """

    row: str
    suite: str
    language: str
    form: str
    kind: str
    count: int
    seed: int
    items: str
    samples: int = 1
    alone: int = 0
    primary: bool = False
    purposes: tuple[str, ...] = ()
    graded: bool = False
    margin: float = 0.05
    visible: float = 1.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A comparison before its first answer.

    `contestants`: in the order in which they were named. `damage`: what `--damage` measures, empty without. `prices`:
    the owner's, empty without. `machine` and `versions`: where it was planned. `seconds`: asked for, 0 where no time
    was given. `measured_by`: how the foreseen seconds were found.
    """

    ouvert: str
    written: str  # when, UTC, ISO 8601
    seed: int
    contestants: tuple[ContestantFacts, ...]
    suites: tuple[PlannedSuite, ...]
    rows: tuple[PlannedRow, ...]
    languages: tuple[str, ...] = ("en",)
    purposes: tuple[str, ...] = ()
    seconds: float = 0.0
    foreseen_seconds: float = 0.0
    measured_by: str = ""
    temperature: float = 0.0
    damage: Mapping[str, Any] = field(default_factory=dict)
    prices: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The contestants' labels. Raises nothing."""
        return tuple(each.label for each in self.contestants)

    def row(self, name: str) -> PlannedRow:
        """Raises EvaluationError for a row that is not in it."""
        for each in self.rows:
            if each.row == name:
                return each
        raise EvaluationError(f"reading a plan: there is no row {name!r:.80}; it has {', '.join(self.row_names)}.")

    @property
    def row_names(self) -> tuple[str, ...]:
        """Raises nothing."""
        return tuple(each.row for each in self.rows)

    def suite(self, name: str) -> PlannedSuite:
        """Raises EvaluationError for a suite that is not in it."""
        for each in self.suites:
            if each.name == name:
                return each
        raise EvaluationError(
            f"reading a plan: there is no suite {name!r:.80}; it has {', '.join(each.name for each in self.suites)}."
        )

    @property
    def mapping(self) -> dict[str, Any]:
        """The plan as plan.toml has it, plain values all through. Raises nothing."""
        plain = {name: value for name, value in asdict(self).items() if value is not None}
        plain["contestants"] = [
            {**each, "asks": sorted(each["asks"]), "digest": facts.digest}
            for each, facts in zip(plain["contestants"], self.contestants, strict=True)
        ]
        return {"comparison": FORM, **plain}

    @property
    def toml(self) -> bytes:
        """The bytes of plan.toml. Raises TypeError for a fact that TOML does not have."""
        return as_toml(self.mapping).encode("utf-8")

    @classmethod
    def read(cls, toml: bytes) -> Self:
        """The plan in the bytes of a plan.toml. Raises EvaluationError for what is none, or of another form."""
        try:
            stated = tomllib.loads(toml.decode("utf-8"))
        except (ValueError, RecursionError) as problem:
            raise EvaluationError(
                f"reading a plan: {problem!s:.200}, expected TOML. Is plan.toml damaged? Compare again."
            ) from None
        if stated.get("comparison") != FORM:
            raise EvaluationError(
                f"reading a plan: comparison = {stated.get('comparison')!r:.40}, expected {FORM}. Another version of "
                "Ouvert wrote it; read it with that one."
            )
        try:
            plan = cls(**{
                **{name: value for name, value in stated.items() if name != "comparison"},
                "contestants": tuple(map(contestant_of, stated["contestants"])),
                "suites": tuple(PlannedSuite(**each) for each in stated.get("suites", ())),
                "rows": tuple(row_of(each) for each in stated.get("rows", ())),
                **{name: tuple(stated.get(name, ())) for name in ("languages", "purposes")},
            })  # fmt: skip
            require_field_types(plan)
            return plan
        except (TypeError, KeyError, AttributeError) as problem:
            raise EvaluationError(
                f"reading a plan: {problem!s:.200}, expected the fields that docs/formats/comparison.md lists. Was it "
                "changed by hand? A plan stays as it was written."
            ) from None


def contestant_of(stated: Mapping[str, Any]) -> ContestantFacts:
    """Raises TypeError and KeyError for fields that are missing or unknown, EvaluationError for another digest."""
    facts = ContestantFacts(**{
        **{name: value for name, value in stated.items() if name != "digest"},
        "asks": frozenset(stated["asks"]),
    })  # fmt: skip
    if facts.digest != stated["digest"]:
        raise EvaluationError(
            f"reading a plan: the contestant {facts.label!r:.80} has the digest {stated['digest']!r:.80}, and what "
            f"stands there has {facts.digest}. A plan stays as it was written."
        )
    return facts


def row_of(stated: Mapping[str, Any]) -> PlannedRow:
    """Raises TypeError for fields that are missing or unknown."""
    return PlannedRow(**{**stated, "purposes": tuple(stated.get("purposes", ()))})


def digest_of(toml: bytes) -> str:
    """How a plan is named everywhere: `sha256:` of plan.toml. Raises nothing."""
    return "sha256:" + sha256(toml).hexdigest()
