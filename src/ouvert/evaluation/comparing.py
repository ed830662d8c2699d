"""`ouvert.compare`: from names of models to a folder with everything that is needed to believe what it says."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from ouvert.evaluation.analysis import analyse
from ouvert.evaluation.comparison import Comparison
from ouvert.evaluation.contestants.contestant import ContestantFacts
from ouvert.evaluation.contestants.entrants import Entrant, LoadedOnce, meanings
from ouvert.evaluation.contestants.notation import names_another_server
from ouvert.evaluation.contestants.other_servers import OtherServers
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Evidence, require_empty
from ouvert.evaluation.measures.measuring import damage_to_measure, measure
from ouvert.evaluation.plan import Plan
from ouvert.evaluation.planning import MINUTES, Wanted, make_plan
from ouvert.evaluation.report.write import report
from ouvert.evaluation.rerun import Again, compare_outcomes
from ouvert.evaluation.run import Told, not_told, run
from ouvert.evaluation.wording import Language
from ouvert.store import Store, StoreError, default_home

THIS_MACHINE = OtherServers()


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison that was run. `folder` has everything; `notes`: what its owner should know of the plan."""

    folder: Path
    notes: tuple[str, ...] = ()

    @property
    def evidence(self) -> Evidence:
        """The folder, open to be read. Raises EvaluationError for one that is damaged."""
        return Evidence.open(self.folder)

    @property
    def comparison(self) -> Comparison:
        """What was found. Raises what `analyse` raises."""
        return analyse(self.evidence)

    def report(self, language: Language = "en") -> Path:
        """Write the report into the folder; where its page is. Raises EvaluationError without matplotlib."""
        return report(self.evidence, language=language)

    def _repr_html_(self) -> str:
        """The report's page, for a notebook: in a frame, since it is a page of its own."""
        page = self.report().read_text(encoding="utf-8")
        return f'<iframe srcdoc="{escape(page)}" style="width:100%;height:40em;border:0"></iframe>'


def compare(
    *contestants: str | Entrant,
    purposes: Sequence[str] = (),
    minutes: float = MINUTES,
    languages: Sequence[str] = ("en",),
    effort: Sequence[str] = (),
    suites: Sequence[str] | Mapping[str, Mapping[str, Any]] = (),
    folder: Path | str | None = None,
    seed: int = 1,
    samples: int = 1,
    temperature: float = 0.0,
    damage: bool = False,
    progress: Told = not_told,
    **settings: Any,
) -> Compared:
    """Ask every contestant the same questions, and keep the answers with their receipts in a folder.

    `contestants`: names as `ouvert.load` takes them, with an effort behind where wanted ("gpt-oss:20b:low"); other
    servers of this machine ("ollama:http://127.0.0.1:11434/NAME"); what `OtherServers` makes, also beyond it.
    `purposes`: what they are wanted for ("chat", "tools", "french", ...). `minutes`: how long it may take. `effort`:
    words, each of which makes a contestant of every model. `suites`: by name, with settings where they need some:
    {"mine": {"path": "mine.jsonl"}}. `folder`: a new or an empty one; left out,
    "comparison-DATE" here. `damage`: measure what fewer bits cost, beside the contestant of the most bits, in English
    and French; without purposes and suites only that, and the pages' bits per byte. `settings`: those of `ouvert.load`
    (`threads`, `context`, `precision`, ...).

    Nothing leaves the machine without such a contestant. Killed, `resume(folder)` goes on where it was. Raises
    EvaluationError for what cannot be planned, asked or kept; what `ouvert.load` raises.
    """
    asked = tuple(suites) or (("reading",) if damage and not purposes else ())
    own = suites if isinstance(suites, Mapping) else {}
    wanted = Wanted(
        purposes=tuple(purposes), suites=asked, settings=own, languages=tuple(languages), seconds=60 * minutes,
        seed=seed, samples=samples, temperature=temperature,
    )  # fmt: skip
    place = free_folder(folder)
    with LoadedOnce(**settings) as loaded:
        entrants = entrants_of(contestants, loaded, effort, temperature)
        if damage:
            wanted = replace(wanted, damage=damage_to_measure(entrants))
        planned = make_plan(entrants, wanted)
        with Evidence.create(place, planned.plan) as evidence:
            run(evidence, entrants, progress=progress)
            measure(evidence, entrants, progress=progress)
    return Compared(place, planned.notes)


def entrants_of(
    words: Sequence[str | Entrant],
    loaded: LoadedOnce,
    efforts: Sequence[str] = (),
    temperature: float = 0.0,
    others: OtherServers = THIS_MACHINE,
) -> list[Entrant]:
    """Who is meant by what was written; those that are entrants already come last. Raises what `LoadedOnce.entrant` and
    `OtherServers.local` raise."""
    found = []
    for meant in meanings([word for word in words if isinstance(word, str)], efforts, known=is_known):
        if not names_another_server(meant.name):
            found.append(loaded.entrant(meant, temperature))
        elif meant.copy == 1:
            found.append(others.local(meant.label, temperature))
        else:
            raise EvaluationError(f"comparing {meant.name}: it is named twice, expected once. Leave one out.")
    return [*found, *(word for word in words if isinstance(word, Entrant))]


def entrants_again(plan: Plan, loaded: LoadedOnce, others: OtherServers = THIS_MACHINE) -> list[Entrant]:
    """The contestants of a plan. Raises what `LoadedOnce.entrant`, `OtherServers.local` and `OtherServers.remote`
    raise."""
    here = [word_of(facts) for facts in plan.contestants if facts.where == "here"]
    elsewhere = [others.again(facts, plan.temperature) for facts in plan.contestants if facts.where != "here"]
    return entrants_of([*here, *elsewhere], loaded, (), plan.temperature)


def word_of(facts: ContestantFacts) -> str:
    """What names a model of this machine on a command line. Raises nothing."""
    if "place" not in facts.about:
        return facts.label.partition("#")[0]
    effort = facts.identity.get("effort")
    return f"{facts.about['place']}{f':{effort}' if effort else ''}"


def settings_of(plan: Plan) -> dict[str, Any]:
    """The settings of `ouvert.load` with which the plan's models of this machine answered. Raises nothing."""
    here = [facts.identity for facts in plan.contestants if facts.where == "here"]
    if not here:
        return {}
    engine = here[0].get("engine", {})
    found = {"exact": bool(engine.get("exact")), "context": max(int(each["context"]) for each in here)}
    cache = {"cache": engine["cache"]} if engine.get("cache") in ("f16", "q8") else {}
    return {**found, **cache, "clip_context": True}  # each has its own, where that is less


def is_known(name: str, store: Store | None = None) -> bool:
    """Whether a model has that name. Raises nothing."""
    try:
        (store or Store(default_home())).resolve(name)
    except StoreError:
        return False
    return True


def free_folder(wanted: Path | str | None) -> Path:
    """Where a comparison will be written; looked at before anything is asked, since planning takes minutes.

    Raises EvaluationError where it cannot be.
    """
    folder = Path(wanted) if wanted is not None else new_folder(Path())
    try:
        require_empty(folder)
        within = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not within.is_dir() or not os.access(within, os.W_OK | os.X_OK):
            raise PermissionError(13, f"{within} cannot be written into")
    except OSError as problem:
        raise EvaluationError(
            f"beginning a comparison in {folder}: {problem.strerror}, expected a folder that can be written. Name "
            "another with --out."
        ) from None
    return folder


def new_folder(beside: Path) -> Path:
    """ "comparison-2026-11-21", or with a number behind where that is taken. Raises nothing."""
    name = f"comparison-{datetime.now(UTC):%Y-%m-%d}"
    taken = (beside / name, *(beside / f"{name}-{n}" for n in range(2, 10_000)))
    return next(path for path in taken if not path.exists())


def resume(
    folder: Path, *, progress: Told = not_told, others: OtherServers = THIS_MACHINE, **settings: Any
) -> Compared:
    """Go on with a comparison that was stopped. `others`: how contestants of other servers are reached. Raises what
    `compare` raises."""
    with (
        Evidence.open(folder, writing=True) as evidence,
        LoadedOnce(**settings_of(evidence.plan) | settings) as loaded,
    ):
        entrants = entrants_again(evidence.plan, loaded, others)
        run(evidence, entrants, progress=progress)
        measure(evidence, entrants, progress=progress)
    return Compared(folder)


def rerun(
    folder: Path, again: Path, *, progress: Told = not_told, others: OtherServers = THIS_MACHINE, **settings: Any
) -> Again:
    """The same plan once more, in a new folder, and both held together. `others`: as `resume` has it. Raises what
    `compare` raises."""
    before = Evidence.open(folder)
    toml = (folder / "plan.toml").read_bytes()
    evidence = Evidence.open(again, writing=True) if (again / "plan.toml").exists() else Evidence.create(again, toml)
    with evidence, LoadedOnce(**settings_of(before.plan) | settings) as loaded:
        if evidence.plan_digest != before.plan_digest:
            raise EvaluationError(f"running {folder} again: {again} has another plan. Name another folder with --out.")
        entrants = entrants_again(evidence.plan, loaded, others)
        run(evidence, entrants, progress=progress)
        measure(evidence, entrants, progress=progress)
    return compare_outcomes(before, Evidence.open(again))
