"""`check`: asks the base and the adapted model the same, and says whether anything got worse."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from typing import cast

from ouvert.evaluation.checking.check_report import CheckReport, CheckState, Integrity, Observation
from ouvert.evaluation.checking.findings import classes_of, findings_of, state_of
from ouvert.evaluation.checking.held_out import HeldOut, Prompted, answer_prompts, measure_held_out, side_by_side
from ouvert.evaluation.checking.measures import NEEDED
from ouvert.evaluation.checking.questions import COUNTS, Asked, asks_the_same, plan_of, questions
from ouvert.evaluation.contestants.entrants import Entrant
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Evidence
from ouvert.evaluation.plan import Plan
from ouvert.evaluation.run import Progress, Told, not_told, run
from ouvert.evaluation.speed import Machine

EARLIER = "earlier"  # beside the evidence: that of other questions, until its answers are taken over


@dataclass(frozen=True, slots=True, kw_only=True)
class ToCheck:
    """What is checked beside the questions that every check has.

    `prompts`: of examples that were kept apart, answered side by side, the first ten; `held_out`: examples whose loss
    is measured; `learns_likelihood`: whether a lower loss of them is what was learnt. `integrity`: what the probe said.
    `observations`: what was seen inside. `binds`: the digests of base, adapter and format. `counts`: questions by row;
    fewer are for tests.
    """

    prompts: Sequence[Prompted] = ()
    held_out: Sequence[HeldOut] = ()
    learns_likelihood: bool = True
    integrity: Integrity | None = None
    observations: Sequence[Observation] = ()
    binds: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=lambda: dict(COUNTS))


def check(
    base: Entrant,
    adapted: Entrant,
    *,
    folder: Path,
    kept: Path,
    what: ToCheck = ToCheck(),
    progress: Told = not_told,
    machine: Machine | None = None,
) -> CheckReport:
    """Ask, score and compare. `folder`: where the evidence of this check goes, and stays. `kept`: the folder with the
    base's answers, one folder a base, which later checks take them from.

    Killed at any answer, the same call goes on there; once it is through, it asks nothing any more. Writes no record
    and no report: `write_check` does. Raises EvaluationError for what cannot be asked, kept or scored; what
    `Entrant.open` raises. KeyboardInterrupt goes through it, with everything that was answered kept.
    """
    if base.facts.label == adapted.facts.label:
        raise EvaluationError(
            f"checking {adapted.facts.label}: the base has the same name, expected another. Name the adapter behind it."
        )
    asked = questions(what.counts)
    known = keep_answers_of(base, asked, kept, progress, machine)
    with ExitStack() as stack:
        earlier = open_folder(folder, plan_of([base.facts, adapted.facts], asked), stack)
        evidence = stack.enter_context(Evidence.open(folder, writing=True))
        run(evidence, [base, adapted], progress=progress, known=[*earlier, known], machine=machine)
        measure_held_out(evidence, [base, adapted], what.held_out, told_of(progress, "held out"))
        answer_prompts(evidence, [base, adapted], what.prompts, told_of(progress, "side by side"))
        evidence.seal()
    rmtree(folder.with_name(f"{folder.name}.{EARLIER}"), ignore_errors=True)
    return report_of(Evidence.open(folder), asked, what)


def keep_answers_of(base: Entrant, asked: Asked, kept: Path, progress: Told, machine: Machine | None) -> Evidence:
    """The base's own answers, asked once for all checks of its adapters. Raises what `run` raises."""
    folder = kept / base.facts.digest.removeprefix("sha256:")[:32]
    with ExitStack() as stack:
        earlier = open_folder(folder, plan_of([base.facts], asked), stack)
        evidence = stack.enter_context(Evidence.open(folder, writing=True))
        run(evidence, [base], progress=progress, known=earlier, machine=machine)
    rmtree(folder.with_name(f"{folder.name}.{EARLIER}"), ignore_errors=True)
    return Evidence.open(folder)


def open_folder(folder: Path, plan: Plan, stack: ExitStack) -> list[Evidence]:
    """See to it that `folder` has a plan that asks the same as `plan`. Evidence of other questions is set aside, and
    handed back, so that its answers are taken over where they are to the same.

    Raises EvaluationError where a folder cannot be written or read.
    """
    aside = folder.with_name(f"{folder.name}.{EARLIER}")
    if (folder / "plan.toml").exists() and not asks_the_same(Evidence.open(folder).plan, plan):
        rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    if not (folder / "plan.toml").exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        Evidence.create(folder, plan).close()
    earlier = stack.enter_context(Evidence.open(aside)) if (aside / "plan.toml").exists() else None
    return [earlier] if earlier is not None and can_be_read(earlier) else []


def can_be_read(earlier: Evidence) -> bool:
    """Whether its questions are still made as they were: another version of a suite asks others. Raises nothing."""
    try:
        for row in earlier.plan.rows:
            earlier.items(row.row)
        earlier.answers()
    except EvaluationError:
        return False
    return True


def told_of(progress: Told, doing: str) -> Callable[[int, int, str], None]:
    """Examples as progress of a run."""

    def tell(done: int, of: int, label: str) -> None:
        progress(Progress(done=done, of=of, doing=doing, row=doing, contestant=label, seconds_left=None))

    return tell


def report_of(evidence: Evidence, asked: Asked, what: ToCheck) -> CheckReport:
    """What the evidence says. Nothing is asked. Raises what reading it raises."""
    findings = findings_of(evidence, asked.missing, learns_likelihood=what.learns_likelihood)
    state, why = state_of(findings, what.integrity, NEEDED)
    base, adapted = evidence.plan.labels
    answers = evidence.answers()
    return CheckReport(
        state=cast("CheckState", state),
        why=why,
        findings=findings,
        integrity=what.integrity,
        examples=tuple(side_by_side(evidence)),
        observations=tuple(what.observations),
        classes=classes_of(evidence),
        binds=dict(what.binds),
        contestants=(base, adapted),
        plan=evidence.plan_digest,
        questions=sum(each.contestant == adapted for each in answers),
        known=sum(bool(each.known) for each in answers),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        ouvert=version("ouvert"),
    )
