"""report.ipynb: the sentences, and cells that compute the p-values and draw the intervals again from embedded data.

nbformat 4.5, written without the nbformat package. The cells need NumPy and matplotlib only.
"""

import json
from pathlib import Path
from typing import Any

from ouvert.evaluation.comparison import Pair, Row
from ouvert.evaluation.report.document import Document, Paragraph
from ouvert.evaluation.report.markdown import escaped, paragraph, text_of
from ouvert.evaluation.report.material import Material
from ouvert.evaluation.report.visible import one_line
from ouvert.evaluation.wording import Wording

CELLS = Path(__file__).with_name("cells.txt")


def notebook(material: Material, document: Document, words: Wording) -> str:
    """The whole notebook as JSON. Raises nothing."""
    first = next(iter(document))
    intro = [f"# {escaped(document.title)}", text_of(document.under)]
    intro += [paragraph(block) for block in first.blocks if isinstance(block, Paragraph)]
    cells = [markdown_cell("intro", "\n\n".join(intro))]
    for name, source in code_cells().items():
        cells.append(markdown_cell(f"about-{name}", words(f"notebook.{name}")))
        embedded = f"EMBEDDED = {json.dumps(data_of(material, words), sort_keys=True)!a}\n"
        cells.append(code_cell(name, embedded + source if name == "data" else source))
    cells.append(markdown_cell("try", words("notebook.try")))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made = {"cells": cells, "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}}, "nbformat": 4,
            "nbformat_minor": 5}  # fmt: skip
    return json.dumps(made, ensure_ascii=True, indent=1, sort_keys=True) + "\n"


def code_cells() -> dict[str, str]:
    """The cells' sources by name, in order."""
    parts = CELLS.read_text(encoding="utf-8").split("# %% ")[1:]
    return {name: source.strip() for name, source in (part.split("\n", 1) for part in parts)}


def markdown_cell(name: str, text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text.splitlines(keepends=True)}


def code_cell(name: str, source: str) -> dict[str, Any]:
    return {"cell_type": "code", "execution_count": None, "id": name, "metadata": {}, "outputs": [],
            "source": source.splitlines(keepends=True)}  # fmt: skip


def data_of(material: Material, words: Wording) -> dict[str, Any]:
    """What the cells compute with: shares, counts, and of every item who got it."""
    rows = [row for row in material.ordered_rows() if row.scores]
    return {
        "contestants": list(material.labels),
        "rows": [row_of(material, words, row) for row in rows],
        "pairs": [pair_of(material, pair) for pair in material.comparison.pairs],
    }


def row_of(material: Material, words: Wording, row: Row) -> dict[str, Any]:
    scores = [
        {"contestant": each.contestant, "n": each.n, "right": each.right, "share": each.share,
         "low": each.interval.low, "high": each.interval.high, "baseline": each.baseline}
        for each in row.scores
    ]  # fmt: skip
    title = one_line(material.title(words, row))
    return {"row": row.row, "title": title, "primary": row.primary, "scores": scores, "answers": answers(material, row)}


def answers(material: Material, row: Row) -> dict[str, str] | None:
    """By contestant, a digit an item: 1 right, 0 wrong, a space where there is no answer. None where items have several
    answers or graded scores, or their words are withheld: then counts are all there is."""
    binary = [each.p is not None for each in material.comparison.pairs if each.row == row.row]
    if row.suite in material.withheld or not all(binary) or not material.items.get(row.row):
        return None
    signs = {None: " ", True: "1", False: "0"}
    found: dict[str, str] = {}
    for score in row.scores:
        given = [material.given.get((score.contestant, row.row, item.id)) for item in material.items[row.row]]
        found[score.contestant] = "".join(signs[None if each is None else each.score.right] for each in given)
    return found


def pair_of(material: Material, pair: Pair) -> dict[str, Any]:
    clusters = {item.cluster or item.id for item in material.items.get(pair.row, ()) if
                all((label, pair.row, item.id) in material.given for label in (pair.first, pair.second))}  # fmt: skip
    names = ("row", "first", "second", "n", "only_first", "only_second", "p", "p_adjusted", "design_effect")
    return {**{name: getattr(pair, name) for name in names}, "clusters": len(clusters) or None}
