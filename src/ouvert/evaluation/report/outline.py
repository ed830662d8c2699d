"""The order of a report: the answer first, then what it stands on."""

from ouvert.evaluation.report import answers, facts, found, measures, phrases, reading, scores
from ouvert.evaluation.report.document import Document, Text
from ouvert.evaluation.report.material import Material
from ouvert.evaluation.wording import Language, Wording


def outline(material: Material, language: Language) -> Document:
    """The whole report as a tree, in one language. Raises EvaluationError without matplotlib."""
    words = Wording("report", language)
    sections = (
        found.found(material, words),
        facts.contestants(material, words),
        scores.scores(material, words),
        scores.pairs(material, words),
        measures.damage(material, words),
        measures.efforts(material, words),
        measures.cost(material, words),
        measures.calibration(material, words),
        scores.letters(material, words),
        measures.bits(material, words),
        scores.groups(material, words),
        scores.passes(material, words),
        measures.votes(material, words),
        facts.privacy(material, words),
        answers.differences(material, words),
        answers.rows(material, words),
        reading.reading(Wording("reading", language)),
        facts.published(material, words),
        facts.limits(material, words),
        facts.reproduce(material, words),
    )
    return Document(
        title(material, words), under(material, words), language, words("page.contents"),
        tuple(each for each in sections if each is not None),
    )  # fmt: skip


def title(material: Material, words: Wording) -> str:
    names = phrases.joined(words, [(label,) for label in material.labels[:3]])
    named = "".join(each for each in names if isinstance(each, str))
    return words("page.title_more" if len(material.labels) > 3 else "page.title", names=named)


def under(material: Material, words: Wording) -> Text:
    """When, how much was asked, of whom."""
    plan, rows = material.comparison.plan, material.comparison.rows
    asked = sum(max((score.n for score in row.scores), default=0) for row in rows)
    date = str(plan.get("written", ""))[:10]
    counts = {
        "n": words.number(asked), "rows": words.number(len(rows)),
        "primaries": words.number(sum(row.primary for row in rows)),
    }  # fmt: skip
    return ((f"{date} · ",) if date else ()) + (words("page.under", **counts),)
