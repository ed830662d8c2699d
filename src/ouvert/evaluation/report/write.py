"""The files of a report, in the folder of its comparison."""

from pathlib import Path

from ouvert.evaluation.analysis import analyse
from ouvert.evaluation.comparison import Comparison
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.evidence import Evidence
from ouvert.evaluation.report.data import csv_of, licences_file
from ouvert.evaluation.report.gather import gather
from ouvert.evaluation.report.markdown import markdown
from ouvert.evaluation.report.material import Material
from ouvert.evaluation.report.notebook import notebook
from ouvert.evaluation.report.outline import outline
from ouvert.evaluation.report.page import page
from ouvert.evaluation.wording import Language, Wording
from ouvert.store import write_whole


def report(evidence: Evidence, *, language: Language = "en", comparison: Comparison | None = None) -> Path:
    """Write report.html, report.md, report.ipynb, data.csv and LICENCES.md into the folder, and the manifest; returns
    where the page is. From the same evidence come the same bytes.

    `language`: which one the page opens in (it holds both), and the one of the other files. `comparison`: what was
    found, where somebody has analysed the evidence before. Raises EvaluationError without matplotlib, where items
    cannot be made again, and where a file cannot be written.
    """
    material = gather(evidence, comparison or analyse(evidence))
    for name, text in files(material, language).items():
        write(evidence.folder / name, text)
    evidence.seal()
    return evidence.folder / "report.html"


def files(material: Material, language: Language) -> dict[str, str]:
    """Every file of a report, by name. Raises EvaluationError without matplotlib."""
    both = outline(material, "en"), outline(material, "fr")
    own, words = both[0 if language == "en" else 1], Wording("report", language)
    return {
        "report.html": page(*both, language),
        "report.md": markdown(own, words),
        "report.ipynb": notebook(material, own, words),
        "data.csv": csv_of(material),
        "LICENCES.md": licences_file(material, words),
    }


def write(path: Path, text: str) -> None:
    """Whole or not at all. Raises EvaluationError where it cannot be written."""
    try:
        write_whole(path, [text.encode("utf-8")])
        path.chmod(0o644)
    except OSError as problem:
        raise EvaluationError(
            f"writing {path}: {problem.strerror}, expected a folder that can be written, with room. Make room, then: "
            f"ouvert compare report {path.parent}"
        ) from None
