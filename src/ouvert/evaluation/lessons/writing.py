"""Lessons written into the folder of their comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Evidence
from ouvert.evaluation.lessons.filled import MissingError
from ouvert.evaluation.lessons.fillings import LESSONS
from ouvert.evaluation.lessons.run import Run
from ouvert.evaluation.lessons.sheet import LEVELS, sheet
from ouvert.evaluation.wording import Language, Wording
from ouvert.store import write_whole


@dataclass(frozen=True, slots=True)
class Lessons:
    """What was written: by the lesson's number, its page, and why others could not be filled."""

    pages: Mapping[int, Path] = field(default_factory=dict)
    missing: Mapping[int, str] = field(default_factory=dict)


def write_lessons(
    folder: Path,
    *,
    language: Language = "en",
    level: str = "school",
    numbers: Sequence[int] = (),
    out: Path | None = None,
) -> Lessons:
    """The lessons that the comparison in `folder` can fill, each a page of its own in `out` (`folder`/lessons).

    `level`: "lycée"/"school", "université"/"university" or "équipe"/"team". `numbers`: only these, of 1 to 7. Raises
    EvaluationError for a level or number that there is not, a folder that is no comparison, and where nothing can be
    written.
    """
    if level not in LEVELS:
        raise EvaluationError(f"writing lessons: the level is {level!r:.40}, expected one of {', '.join(LEVELS)}.")
    if wrong := [number for number in numbers if not 1 <= number <= len(LESSONS)]:
        raise EvaluationError(f"writing lessons: there is no lesson {wrong[0]}; there are 1 to {len(LESSONS)}.")
    words = Wording("lessons", language)
    with Evidence.open(folder) as evidence:
        run = Run.of(evidence)
        target = folder / "lessons" if out is None else out
        pages, missing = {}, {}
        for number, (name, fill) in enumerate(LESSONS.items(), 1):
            if numbers and number not in numbers:
                continue
            try:
                text = sheet(run, name, fill(run, words), LEVELS[level], words)
            except MissingError as lacking:
                missing[number] = words("sheet.not_written", number=number, why=words(f"need.{lacking.need}"))
                continue
            pages[number] = target / f"{number}-{name}.{language}.{LEVELS[level]}.html"
            write_page(pages[number], text)
        if out is None and pages:
            evidence.seal()
    return Lessons(pages, missing)


def write_page(path: Path, text: str) -> None:
    """Raises EvaluationError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, [text.encode("utf-8")])
        path.chmod(0o644)
    except OSError as problem:
        raise EvaluationError(
            f"writing {path}: {problem.strerror}, expected a folder that can be written. Name another with --out."
        ) from None
