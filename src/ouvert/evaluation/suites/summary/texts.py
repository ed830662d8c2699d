"""Reports with planted facts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ouvert.evaluation.suites.draw import Draw
from ouvert.evaluation.suites.generated import Draft, Turn, question
from ouvert.evaluation.suites.language_data import language_data

GROUPS = ("facts-3", "facts-6", "facts-9")
WORDS_A_FACT = 7  # that a summary may have; the text has about 17


def said(language: str) -> Mapping[str, Any]:
    return language_data(Path(__file__).parent, language)


def draft(turn: Turn) -> Draft:
    """One report. Its facts stand in an order that is drawn."""
    lists = said(turn.language)
    count = int(turn.group.removeprefix("facts-"))
    kinds = turn.draw.some(tuple(lists["facts"]), count)
    facts = {kind: value(turn.draw, lists["values"][kind]) for kind in kinds}
    sentences = [turn.draw.one(lists["facts"][kind]).format_map(facts) for kind in kinds]
    sentences.insert(turn.draw.between(1, count - 1), turn.draw.one(lists["fillers"]["between"]))
    opening = turn.draw.one(lists["fillers"]["opening"]).format(event=turn.draw.one(lists["events"]))
    words, text = WORDS_A_FACT * count, " ".join([opening, *sentences])
    return Draft(
        about=f"{facts}",
        asks={"": question(lists["ask"][turn.wording].format(words=words, text=text), 40 + 25 * count)},
        expected={"facts": facts, "words": words, "text": text},
    )


def value(draw: Draw, options: list[Any]) -> str:
    """One of some names, or a number between two."""
    if isinstance(options[0], int):
        return str(draw.between(*options))
    return str(draw.one(options))
