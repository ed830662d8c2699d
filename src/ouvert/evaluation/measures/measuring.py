"""What `--damage` measures, from a plan to the lines of damage.jsonl: stopped at any window, it goes on there."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ouvert.assistant import EngineError
from ouvert.evaluation.analysis.damages import window_damages
from ouvert.evaluation.contestants.contestant import ContestantFacts
from ouvert.evaluation.contestants.entrants import Entrant
from ouvert.evaluation.contestants.here import Here
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Evidence
from ouvert.evaluation.measures.damage import (
    LANGUAGES,
    SUITE,
    WINDOW,
    WindowDamage,
    line_of,
    measure_damage,
    planned_damage,
    require_same_tokens,
)
from ouvert.evaluation.run import Progress, Told, not_told
from ouvert.evaluation.suites.catalog import open_suite


def damage_to_measure(entrants: Sequence[Entrant], languages: Sequence[str] = LANGUAGES) -> dict[str, Any]:
    """What the plan says of it. Raises EvaluationError for a contestant that is not computed here, for one alone, and
    for one whose tokens are not the reference's: before anything is asked."""
    contestants = [entrant.facts for entrant in entrants]
    if elsewhere := [facts.label for facts in contestants if facts.where != "here"]:
        raise EvaluationError(
            f"measuring damage: {elsewhere[0]} is computed by another program, which gives no probabilities of all "
            "tokens, expected models that Ouvert computes. Leave it out, or --damage."
        )
    planned = planned_damage({facts.label: bits_of(facts) for facts in contestants}, languages)
    [reference] = [entrant for entrant in entrants if entrant.facts.label == planned["reference"]]
    for entrant in entrants:
        if entrant.facts.tokenizer != reference.facts.tokenizer:
            require_same_tokens_of(entrant, reference)
    return planned


def require_same_tokens_of(entrant: Entrant, reference: Entrant) -> None:
    """Raises EvaluationError where they differ: two files of one model may only write them down differently."""
    one, other = opened(entrant), opened(reference)
    try:
        require_same_tokens(one.model, other.model)
    finally:
        one.close()
        other.close()


def bits_of(facts: ContestantFacts) -> float:
    """Bits a weight: those of the file, or fewer where it was asked for at a precision. Raises nothing."""
    stored = 8.0 * facts.about["bytes"] / max(1, facts.about["parameters"])
    try:
        asked = float(facts.identity["engine"]["precision"])
    except (KeyError, ValueError):  # "stored"
        asked = math.inf
    return min(float(stored), asked)


def said_of_reference(damage: Mapping[str, Any]) -> str:
    """Who the reference is, in a sentence for whoever begins a comparison. Raises nothing."""
    name = damage["reference"]
    said = f"damage is measured beside {name}, the best weights that were named: {damage['bits'][name]:g} bits each"
    if damage["rounded"]:
        said += ". They were rounded already: what is measured is the damage of rounding them once more"
    return f"{said}. {WINDOW}-token windows of the pages of `{SUITE}`, {' and '.join(damage['languages'])}."


def measure(evidence: Evidence, entrants: Sequence[Entrant], *, progress: Told = not_told) -> None:
    """Measure what the plan's `damage` says and damage.jsonl lacks; nothing where the plan has none. `evidence` is open
    to be written to.

    Raises EvaluationError for texts that changed since the plan was written, models whose tokens differ, and what
    cannot be computed or kept.
    """
    planned = evidence.plan.damage
    if not planned:
        return
    if (texts := open_suite(SUITE).describe()["digest"]) != planned["texts"]:
        raise EvaluationError(
            f"measuring damage: the pages of {SUITE} have the digest {texts}, expected {planned['texts']}, as the plan "
            "has it. Use the version of Ouvert that the plan names, or compare anew."
        )
    by_label = {entrant.facts.label: entrant for entrant in entrants}
    known = frozenset(each.key for each in window_damages(evidence.lines("damage")))
    others = [label for label in planned["bits"] if label != planned["reference"]]
    reference = opened(by_label[planned["reference"]])
    try:
        for label in others:
            contestant = opened(by_label[label])
            try:
                measure_damage(
                    label,
                    contestant.model,
                    planned["reference"],
                    reference.model,
                    kept_in(evidence, progress),
                    languages=planned["languages"],
                    known=known,
                )
            except EngineError as problem:
                raise EvaluationError(f"measuring the damage of {label}: {problem}") from problem
            finally:
                contestant.close()
    finally:
        reference.close()
    evidence.seal()


def opened(entrant: Entrant) -> Here:
    """Raises EvaluationError for a contestant that is not computed here."""
    contestant = entrant.open()
    if not isinstance(contestant, Here):
        contestant.close()
        raise EvaluationError(f"measuring damage: {entrant.facts.label} is not computed by Ouvert. Leave it out.")
    return contestant


def kept_in(evidence: Evidence, progress: Told) -> Callable[[WindowDamage, int, int], None]:
    """What takes a window as soon as it is measured, the how manyeth it is, and of how many."""

    def keep(found: WindowDamage, done: int, of: int) -> None:
        evidence.append("damage", line_of(found))
        progress(
            Progress(
                done=done,
                of=of,
                doing="damage",
                row=f"damage/{found.language}",
                contestant=found.contestant,
                seconds_left=None,
            )
        )

    return keep
