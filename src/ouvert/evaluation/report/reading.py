"""How to read a report: eight ideas in a few lines each, with an exercise, for whoever sees one for the first time."""

from ouvert.evaluation.report.document import Box, Boxes, Section
from ouvert.evaluation.wording import Wording

IDEAS = ("interval", "pair", "floor", "chance", "token", "divergence", "effort", "contamination")


def reading(words: Wording) -> Section:
    boxes = tuple(
        Box(*(words(f"{idea}.{part}") for part in ("title", "text", "exercise", "answer"))) for idea in IDEAS
    )  # fmt: skip
    return Section("reading", words("reading.title"),
                   (Boxes(words("reading.exercise"), words("reading.answer"), boxes),), brief=False)  # fmt: skip
