"""What a check found, as values: what the record of an adapter, `--json` and the report are made of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ouvert.evaluation.comparison import Interval

# "worse": shown to be. "kept": looked at, and no loss found (n and interval say what could have been seen).
# "better": shown to be; only said of the held-out loss. "not_measured": `note` says why.
FindingVerdict = Literal["worse", "kept", "better", "not_measured"]
CheckState = Literal["checked", "regression", "unchecked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """What the adapter's probe said when it was loaded: whether it changes the model, and computes what it did when it
    was made. `note`: in a sentence."""

    holds: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Something seen inside, that decides nothing: `what` (a key of the texts), `where` ("layers.3"), `value`."""

    what: str
    where: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One measure, before (the base) and after (with the adapter).

    Of paired measures `before` and `after` are shares of `n` questions; of losses, nats a token, over `n` tokens.
    `change` and `interval` (95 %): after minus before; of neutral text, as a share of before. `p`: one-sided, for all
    paired measures together. `noticed`: the smallest loss that this check calls worse where nothing else changes.
    """

    measure: str
    step: int
    verdict: FindingVerdict
    n: int = 0
    before: float | None = None
    after: float | None = None
    change: float | None = None
    interval: Interval | None = None
    p: float | None = None
    noticed: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """A prompt of the held-out examples, what was wanted, and both answers. `ended`: whether each ended by itself."""

    prompt: str
    wanted: str
    before: str
    after: str
    ended: tuple[bool, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """All that was found. `binds`: the digests that it is of (base, adapter, format); for others it says nothing.

    `state`: what the record of the adapter gets. `why`: of "regression", the measures that got worse; of "unchecked",
    why nothing can be said. `plan`: the digest of the questions and contestants. `known`: answers taken from an earlier
    check.
    """

    state: CheckState
    why: tuple[str, ...]
    findings: tuple[Finding, ...]
    integrity: Integrity | None = None
    examples: tuple[SideBySide, ...] = ()
    observations: tuple[Observation, ...] = ()
    classes: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)
    binds: Mapping[str, str] = field(default_factory=dict)
    contestants: tuple[str, str] = ("", "")
    plan: str = ""
    questions: int = 0
    known: int = 0
    made: str = ""
    ouvert: str = ""

    def finding(self, measure: str) -> Finding:
        """Raises KeyError for a measure that was not looked at."""
        return {each.measure: each for each in self.findings}[measure]

    @property
    def record(self) -> dict[str, Any]:
        """The `check` of an adapter's record: everything but examples and observations, which are words and long.
        Raises nothing."""
        return {name: value for name, value in self.mapping.items() if name not in ("examples", "observations")}

    @property
    def mapping(self) -> dict[str, Any]:
        """check.json, as plain values; numbers have ten significant digits. Raises nothing."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def plain(value: Any) -> Any:
    """Tuples as lists, numbers with ten digits, as JSON has them."""
    match value:
        case bool():
            return value
        case float():
            return float(f"{value:.10g}")
        case Mapping():
            return {name: plain(each) for name, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
    return value
