"""From what is wanted to a plan: which rows, which of them decide, how many items within the time that is given."""

import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ouvert.assistant import memory_bytes
from ouvert.evaluation.contestants.entrants import Entrant
from ouvert.evaluation.contestants.sending import require_may_leave
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import digest_of_items
from ouvert.evaluation.item import Item
from ouvert.evaluation.pace import SHARE_FOR_TRIALS, TRIED, Pace, foreseen, tried
from ouvert.evaluation.plan import Plan, PlannedRow, PlannedSuite
from ouvert.evaluation.purposes import USUAL, purpose
from ouvert.evaluation.speed import BLOCK_ITEMS, CANARY_SECONDS
from ouvert.evaluation.statistics import smallest_visible
from ouvert.evaluation.suites.catalog import open_suite
from ouvert.evaluation.suites.suite import Suite

MINUTES = 10.0  # where no time is given
TOO_LONG = 2.0  # times the time that was given, and a minute more: then nothing is begun
LEAST, MOST = 8, 1000  # items of a row
MOST_SEED = 2**62  # TOML's whole numbers end at 2**63, and trials have a seed beside it
DISCORDANT = 0.2  # the share of items on which two contestants are taken to differ
BESIDE = 0.1  # the weight of a row that decides nothing, beside 1 of one that does
SHARE_BESIDE, ENOUGH_BESIDE = 1 / 3, 16  # of the time, for rows that decide nothing; items that are worth asking
ALONE_BLOCKS = (3, 2, 1, 0)  # of a primary row, asked alone: as many as fit into their share of the time
SHARE_ALONE, SLOWER_ALONE = 0.3, 2.0  # of the time; an answer alone takes so many times its share of several together


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a comparison is wanted for. `suites` beside the purposes' own, by name ("mmlu" or "mmlu/letter"), in which
    they decide nothing unless no purpose is given. `settings`: of suites that need some, by name.

    Making one raises EvaluationError for a number that no comparison can have.
    """

    purposes: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    languages: tuple[str, ...] = ("en",)
    seconds: float = MINUTES * 60
    seed: int = 1
    samples: int = 1
    temperature: float = 0.0
    margin: float = 0.05
    damage: Mapping[str, Any] = field(default_factory=dict)
    prices: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises EvaluationError for a number that no comparison can have."""
        for name, value, fits, expected in (
            ("time in seconds", self.seconds, 0 < self.seconds < math.inf, "more than 0"),
            ("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 or more"),
            ("seed", self.seed, abs(self.seed) < MOST_SEED, "a whole number between -2^62 and 2^62"),
            ("samples", self.samples, self.samples >= 1, "1 or more"),
        ):
            if not fits:
                raise EvaluationError(
                    f"planning a comparison: the {name} is {value!s:.40}, expected {expected}. Correct it."
                )


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, what its owner should know of it (suites that are not here, time that does not suffice), and the items of
    its rows."""

    plan: Plan
    notes: tuple[str, ...]
    items: Mapping[str, tuple[Item, ...]]


@dataclass(slots=True)
class Draft:
    """A row while it is being planned."""

    suite: Suite
    language: str
    row: str
    form: str
    kind: str
    purposes: list[str] = field(default_factory=list)  # that it decides about
    named: bool = False  # somebody asked for its suite
    count: int = LEAST
    most: int = MOST
    alone: int = 0  # items that are asked alone
    seconds: float = 0.0  # for one item, of all contestants
    unrefused: float = 1.0  # times so long it would take if nobody refused it

    @property
    def weight(self) -> float:
        return 1.0 if self.purposes else BESIDE


def make_plan(entrants: Sequence[Entrant], wanted: Wanted, *, ask: bool = True) -> Planned:
    """`ask`: how long questions take is found by asking other ones of the same suites (a tenth of the time or so);
    else it is foreseen, and nothing is asked.

    Raises EvaluationError where nothing of what is wanted can be asked, or, with `ask`, where even the least takes far
    longer than was given; what `open_suite` and `Entrant.open` raise.
    """
    require_distinct(entrants)
    notes: list[str] = []
    drafts = drafted(wanted, notes)
    require_allowed(drafts, entrants)
    blank = plan_of(entrants, wanted, ())
    pace = paced(entrants, drafts, blank, wanted, ask=ask)
    drafts = those_that_are_answered(drafts, [entrant.facts.label for entrant in entrants], pace, notes)
    for draft in drafts:
        take_times(draft, [entrant.facts.label for entrant in entrants], pace, wanted.samples)
    drafts = those_with_time(drafts, wanted.seconds, notes)
    items = share_out(drafts, wanted)
    rows = tuple(planned_row(draft, items[draft.row], wanted) for draft in drafts)
    whole = sum(row.seconds for row in rows)
    if ask and whole > max(TOO_LONG * wanted.seconds, wanted.seconds + 60):
        raise EvaluationError(
            f"planning a comparison: {LEAST} questions of each row that decides take about {minutes(whole)} minutes "
            f"here, and {minutes(wanted.seconds)} were given. Give --time {math.ceil(whole / 60)}m, or choose fewer "
            "purposes."
        )
    if whole > 1.1 * wanted.seconds:
        notes.append(
            f"It will take about {minutes(whole)} minutes, and {minutes(wanted.seconds)} were given: no row has fewer "
            f"than {LEAST} items. Choose fewer purposes, or give more time."
        )
    notes += same_twice(entrants)
    plan = replace(
        plan_of(entrants, wanted, rows), suites=tuple(suites_of(drafts, wanted, entrants)), measured_by=pace.by
    )
    return Planned(replace(plan, foreseen_seconds=round(whole, 1)), tuple(notes), items)


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f}" if seconds >= 600 else f"{seconds / 60:.1f}"


# --- which rows -------------------------------------------------------------------------------------------------------


def drafted(wanted: Wanted, notes: list[str]) -> list[Draft]:
    """The rows, in the order in which they were wanted. Raises EvaluationError where there is none."""
    drafts: dict[str, Draft] = {}
    suites = Suites(wanted, notes)
    for name in wanted.purposes or (() if wanted.suites else USUAL):
        asked = purpose(name)
        languages = (asked.language,) if asked.language else wanted.languages
        primary = next(filter(None, (suites.rows(each, languages) for each in asked.primary)), None)
        if primary is None:
            notes.append(f"For {name} nothing can be asked here: {suites.why(asked.primary)}")
            continue
        deciding = [row for row in primary if row.form == primary[0].form]  # one for each language
        for draft in deciding:
            drafts.setdefault(draft.row, draft).purposes.append(name)
        for draft in [*primary, *(row for each in asked.beside for row in suites.rows(each, languages))]:
            drafts.setdefault(draft.row, draft)
    for each in wanted.suites:
        for draft in suites.rows(each, wanted.languages, required=True):
            known = drafts.setdefault(draft.row, draft)
            known.named = True
            if not wanted.purposes:
                known.purposes.append(draft.suite.card.name)
    if not drafts:
        raise EvaluationError(f"planning a comparison: nothing can be asked. {' '.join(notes)}")
    return list(drafts.values())


class Suites:
    """The suites that can be opened here, and why others cannot."""

    def __init__(self, wanted: Wanted, notes: list[str]) -> None:
        self._wanted, self._notes = wanted, notes
        self._failed: dict[str, str] = {}
        self._opened: dict[str, Suite] = {}

    def rows(self, named: str, languages: Sequence[str], *, required: bool = False) -> list[Draft]:
        """The rows of "suite" or "suite/form", in those of the languages that it has, or its only one. None where it
        cannot be opened; `required`: then EvaluationError says why, and a suite that has none of the languages is asked
        in its own."""
        name, _, form = named.partition("/")
        try:
            suite = self._open(name)
            spoken = languages_of(suite, languages) or (suite.card.languages if required else ())
            found = [row for language in spoken for row in self._drafts(suite, language)]
        except EvaluationError as problem:
            if required:
                raise
            self._failed[name] = str(problem)
            return []
        return [row for row in found if form in ("", row.form)]

    def why(self, names: Sequence[str]) -> str:
        """Why none of these can be asked. Raises nothing."""
        reasons = [self._failed.get(each.partition("/")[0], f"{each} has no such language.") for each in names]
        return " ".join(dict.fromkeys(reasons))

    def _open(self, name: str) -> Suite:
        if name not in self._opened:
            self._opened[name] = open_suite(name, **self._wanted.settings.get(name, {}))
        return self._opened[name]

    def _drafts(self, suite: Suite, language: str) -> list[Draft]:
        first: dict[str, Item] = {}
        for item in suite.items(language, 2, self._wanted.seed):
            first.setdefault(item.row, item)
        return [Draft(suite, language, row, item.form, item.kind) for row, item in first.items()]


def languages_of(suite: Suite, asked: Sequence[str]) -> list[str]:
    own = suite.card.languages
    if suite.card.kind == "own":
        return list(own)  # prompts are in the languages in which they were written
    return [language for language in asked if language in own] or [each for each in own if each not in ("en", "fr")]


def require_allowed(drafts: Sequence[Draft], entrants: Sequence[Entrant]) -> None:
    """Raises EvaluationError where prompts that stay here would be asked of a contestant elsewhere."""
    cards = list({draft.suite.card.name: draft.suite.card for draft in drafts}.values())
    for entrant in entrants:
        if entrant.facts.where == "remote":
            require_may_leave(cards, [entrant.facts.label], entrant.send)


def require_distinct(entrants: Sequence[Entrant]) -> None:
    labels = [entrant.facts.label for entrant in entrants]
    if not labels or len(set(labels)) < len(labels):
        raise EvaluationError(
            f"planning a comparison: the contestants are {', '.join(labels) or 'none'}, expected one or more, each "
            "with a label of its own."
        )


def same_twice(entrants: Sequence[Entrant]) -> Iterator[str]:
    """Sentences about contestants that are one and the same."""
    first: dict[str, str] = {}
    for entrant in entrants:
        facts = entrant.facts
        same = first.setdefault(facts.digest, facts.label)
        if same != facts.label:
            yield f"{same} and {facts.label} are the same model in the same form: their answers will be the same."


# --- how many items ---------------------------------------------------------------------------------------------------


def paced(entrants: Sequence[Entrant], drafts: Sequence[Draft], blank: Plan, wanted: Wanted, *, ask: bool) -> Pace:
    """How long the questions of each row take each contestant."""
    pace = Pace(
        f"{TRIED} questions of each row, of another seed, asked together"
        if ask
        else "foreseen from a short read and a few tokens, without asking"
    )
    # Of another seed: no question of the plan is asked before it is locked.
    trial = {draft.row: items_of(draft, TRIED, wanted.seed + 1_000_003) for draft in drafts}
    for entrant in entrants:
        if entrant.facts.where == "remote":  # nothing leaves the machine before its owner has seen the plan
            continue
        contestant = entrant.open()
        try:
            if ask:
                tried(contestant, blank, trial, SHARE_FOR_TRIALS * wanted.seconds / len(entrants), pace)
            else:
                foreseen(contestant, trial, pace)
        finally:
            contestant.close()
    return pace


def those_that_are_answered(
    drafts: Sequence[Draft], labels: Sequence[str], pace: Pace, notes: list[str]
) -> list[Draft]:
    """Without the rows that every contestant refuses. Raises EvaluationError where none is left."""
    reasons = {draft.row: [pace.refused.get((label, draft.row)) for label in labels] for draft in drafts}
    left_out = [row for row, why in reasons.items() if all(why)]
    notes += (f"Left out, because every contestant refuses it: {row} ({reasons[row][0]})" for row in left_out)
    if len(left_out) == len(drafts):
        raise EvaluationError(f"planning a comparison: nothing can be asked. {' '.join(notes)}")
    return [draft for draft in drafts if draft.row not in left_out]


def take_times(draft: Draft, labels: Sequence[str], pace: Pace, samples: int) -> None:
    """How long an item takes. One who refuses it takes no time, which must not make the row a long one: for its share
    of the items, who refuses counts as slow as the others."""
    answering = [pace.of(label, draft.row) for label in labels if (label, draft.row) not in pace.refused]
    draft.seconds = sum(answering) * samples
    draft.unrefused = len(labels) / len(answering)


def those_with_time(drafts: Sequence[Draft], seconds: float, notes: list[str]) -> list[Draft]:
    """Without the rows that decide nothing, the dearest first, until a third of the time is enough for the others:
    a few items each of many rows would show nothing, and take the time of those that decide."""
    kept = list(drafts)
    beside = sorted((draft for draft in drafts if not draft.purposes and not draft.named), key=cost_of_enough)
    while beside and sum(map(cost_of_enough, beside)) > SHARE_BESIDE * seconds:
        kept.remove(beside.pop())
    if left_out := [draft.row for draft in drafts if draft not in kept]:
        notes.append(f"Left out, because the time is short and they decide nothing: {', '.join(left_out)}.")
    return kept


def cost_of_enough(draft: Draft) -> float:
    """Seconds for as many items as are worth asking."""
    return min(ENOUGH_BESIDE, draft.most) * draft.seconds


def items_of(draft: Draft, count: int, seed: int) -> tuple[Item, ...]:
    """The first items of a row."""
    return tuple(item for item in draft.suite.items(draft.language, count, seed) if item.row == draft.row)


def share_out(drafts: Sequence[Draft], wanted: Wanted) -> dict[str, tuple[Item, ...]]:
    """Give every row its count, and its items: as many as the suite has, and the time allows."""
    while True:
        seconds = (1 - SHARE_FOR_TRIALS) * wanted.seconds
        seconds -= choose_alone(drafts, seconds)
        for draft, count in zip(drafts, counts_for(drafts, seconds), strict=True):
            draft.count = count
        items = {draft.row: items_of(draft, draft.count, wanted.seed) for draft in drafts}
        fewer = [draft for draft in drafts if len(items[draft.row]) < draft.count]
        if not fewer:
            return items
        for draft in fewer:
            draft.most = len(items[draft.row])


def counts_for(drafts: Sequence[Draft], seconds: float) -> list[int]:
    """Items for each row, so that the sum of the smallest visible differences, each by its row's weight, is least
    within `seconds`. Who refuses a row counts as if it answered.

    The smallest visible difference goes with 1 / sqrt(n); then the sum is least where n is in proportion to
    (weight / seconds an item) ** (2/3). Raises nothing.
    """
    pull = [(draft.weight / max(draft.seconds * draft.unrefused, 1e-6)) ** (2 / 3) for draft in drafts]

    def at(scale: float) -> list[int]:
        return [
            max(min(LEAST, draft.most), min(draft.most, int(scale * each)))
            for draft, each in zip(drafts, pull, strict=True)
        ]

    def takes(counts: Sequence[int]) -> float:
        return sum(count * draft.seconds for count, draft in zip(counts, drafts, strict=True))

    low, high = 0.0, MOST / min(pull)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if takes(at(middle)) <= seconds else (low, middle)
    return at(low)


def choose_alone(drafts: Sequence[Draft], seconds: float) -> float:
    """How many questions of each row are asked alone: of rows that decide, and that are answered in words. The seconds
    that they take, with the looks at the machine around them."""
    timed = [draft for draft in drafts if draft.purposes and draft.kind == "chat"]
    for blocks in ALONE_BLOCKS:
        for draft in timed:
            draft.alone = min(blocks * BLOCK_ITEMS, draft.most)
        looks = CANARY_SECONDS * (blocks * len(timed) + 1)
        takes = looks + sum(draft.alone * SLOWER_ALONE * draft.seconds for draft in timed)
        if takes <= SHARE_ALONE * seconds:
            return takes
    return 0.0


def planned_row(draft: Draft, items: Sequence[Item], wanted: Wanted) -> PlannedRow:
    """The row as the plan has it."""
    together, alone = len(items) - draft.alone / wanted.samples, draft.alone * SLOWER_ALONE / wanted.samples
    return PlannedRow(
        row=draft.row,
        suite=draft.suite.card.name,
        language=draft.language,
        form=draft.form,
        kind=draft.kind,
        count=len(items),
        seed=wanted.seed,
        items=digest_of_items(tuple(items)),
        samples=wanted.samples,
        alone=draft.alone,
        primary=bool(draft.purposes),
        purposes=tuple(draft.purposes),
        graded=draft.suite.card.graded,
        margin=wanted.margin,
        visible=round(smallest_visible(len(items), DISCORDANT), 4),
        seconds=round((together + alone) * draft.seconds, 2),
    )


# --- facts ------------------------------------------------------------------------------------------------------------


def plan_of(entrants: Sequence[Entrant], wanted: Wanted, rows: tuple[PlannedRow, ...]) -> Plan:
    """The plan but for its suites and its seconds."""
    return Plan(
        ouvert=version("ouvert"),
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=wanted.seed,
        contestants=tuple(entrant.facts for entrant in entrants),
        suites=(),
        rows=rows,
        languages=wanted.languages,
        purposes=wanted.purposes or (() if wanted.suites else USUAL),
        seconds=wanted.seconds,
        temperature=wanted.temperature,
        damage=wanted.damage,
        prices=wanted.prices,
        machine=machine_facts(),
        versions={"python": platform.python_version(), "numpy": version("numpy"), "ouvert": version("ouvert")},
    )


def suites_of(drafts: Sequence[Draft], wanted: Wanted, entrants: Sequence[Entrant]) -> Iterator[PlannedSuite]:
    """The suites of the rows, each once."""
    elsewhere = any(entrant.facts.where == "remote" for entrant in entrants)
    for suite in {draft.suite.card.name: draft.suite for draft in drafts}.values():
        card = suite.card
        yield PlannedSuite(
            name=card.name,
            scorer=card.scorer,
            licence=card.licence,
            source=card.source,
            settings=dict(wanted.settings.get(card.name, {})),
            made=dict(suite.describe()),
            withheld=card.stays,
            remote=elsewhere,
        )


def machine_facts(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """What a reader wants to know of this machine. What it does not say is left out. Raises nothing."""
    names = []
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    facts = {
        "processor": names[0] if names else platform.processor() or None,
        "cores": os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
    }
    return {name: value for name, value in facts.items() if value is not None}
