"""data.csv: one line an answer, for a spreadsheet. LICENCES.md: whose questions and models these are."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from ouvert.evaluation.outcome import Answered, Score
from ouvert.evaluation.report.markdown import code, escaped, fenced, name
from ouvert.evaluation.report.material import Material
from ouvert.evaluation.report.visible import one_line, shortened
from ouvert.evaluation.suites.licences import SuiteLicence
from ouvert.evaluation.wording import Wording

ITEM = ("cluster", "group", "wording")
SCORE = ("value", "right", "malformed", "chosen", "confidence", "note")
COST = ("whole", "first", "visible", "prompt_tokens", "output_tokens", "thought_tokens", "joules", "alone")
COLUMNS = ("row", "item", *ITEM, "contestant", "sample", *SCORE, "reason", "refused", *COST)
MOST = 500  # characters of a cell
BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_of(material: Material) -> str:
    """Every answer with its score and its cost; not its words, which are in answers.jsonl. Raises nothing."""
    items = {(row, item.id): item for row, of in material.items.items() for item in of}
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(COLUMNS)
    for answered, score in material.answered:
        item = items.get((answered.row, answered.item))
        known = [getattr(item, each) if item else "" for each in ITEM]
        lines.writerow(map(cell, line_of(answered, score, known)))
    return written.getvalue()


def line_of(answered: Answered, score: Score | None, known: Sequence[Any]) -> list[Any]:
    return [
        answered.row, answered.item, *known, answered.contestant, answered.sample,
        *(getattr(score, each) if score else "" for each in SCORE),
        answered.outcome.reason, answered.outcome.refused, *(getattr(answered.cost, each) for each in COST),
    ]  # fmt: skip


def cell(value: Any) -> Any:
    """What a spreadsheet shows and does not compute: text that would begin a formula has an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, str):
        return value
    text = one_line(shortened(value, MOST)[0])
    return f"'{text}" if value.startswith(BEGINS_A_FORMULA) else text


def licences_file(material: Material, words: Wording) -> str:
    """LICENCES.md: suites with the notices that they ask for, and contestants. Raises nothing."""
    parts = [f"# {words('licences.title')}", words("licences.suites")]
    parts += [suite_entry(each, words) for each in material.licences]
    parts.append(words("licences.contestants"))
    parts.append("\n".join(
        f"- {name(str(each['label']))}: {code(str(dict(each.get('about', {})).get('licence') or '–'))}"
        for each in material.comparison.contestants
    ))  # fmt: skip
    return "\n\n".join(parts) + "\n"


def suite_entry(each: SuiteLicence, words: Wording) -> str:
    lines = [f"## {escaped(each.suite)}", f"- {words('privacy.licence')}: {code(each.licence)}",
             f"- {words('privacy.source')}: {escaped(each.source)}"]  # fmt: skip
    if each.digest:
        lines.append(f"- {words('card.digest')}: {code(each.digest)}")
    return "\n".join(lines) + (f"\n\n{fenced(each.notice)}" if each.notice else "")
