"""Figures that others published: read from published.toml, shown in a block of their own, mixed with nothing."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ouvert.evaluation.error import EvaluationError

FIGURES = Path(__file__).parent / "published.toml"
MOST_QUOTED = 25  # words: enough to find the place, too few to replace it
SOURCE_FIELDS = {"title": str, "address": str, "read": str, "harness": str}
FIGURE_FIELDS = {
    "source": str,
    "place": str,
    "quote": str,
    "benchmark": str,
    "language": str,
    "metric": str,
    "model": str,
    "effort": str,
    "percent": (int, float),
}
DAY_OR_MONTH = re.compile(r"20\d\d-[01]\d(-[0-3]\d)?")
MAY_BE_EMPTY = {"quote", "language", "effort"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One figure as its publisher has it. Nothing here was measured by Ouvert.

    `percent`: 0 to 100. `place`: table, figure or page of the source; `quote`: at most 25 of its words, "" where it has
    numbers only. `language`: of the benchmark, "" where it has none. `effort`: as the source names it, "" where it
    names none. `harness`: how far what was asked is what Ouvert's suites ask. `read`: when somebody looked,
    "2026-11-20", or "2026-11" where the day was not noted.
    """

    benchmark: str
    language: str
    metric: str
    model: str
    effort: str
    percent: float
    title: str
    address: str
    place: str
    quote: str
    read: str
    harness: str


@cache
def published() -> tuple[Published, ...]:
    """All figures that Ouvert carries. Raises nothing for a file of ours."""
    return read_published(FIGURES)


def read_published(path: Path) -> tuple[Published, ...]:
    """The figures of a file like published.toml.

    Raises EvaluationError for a file that is not of that form, and for a figure without source, place or a day on which
    it was read, or whose quotation is long.
    """
    try:
        stated = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise EvaluationError(f"reading published figures from {path}: {problem}") from problem
    if unknown := sorted(stated.keys() - {"sources", "figures"}):
        raise EvaluationError(
            f"reading published figures from {path}: {unknown}; expected [sources.…] and [[figures]]."
        )
    sources, figures = stated.get("sources", {}), stated.get("figures", [])
    if not isinstance(sources, dict) or not isinstance(figures, list):
        raise EvaluationError(f"reading published figures from {path}: expected tables [sources.…] and [[figures]].")
    for name, source in sources.items():
        _check_fields(source, SOURCE_FIELDS, f"{path}: the source {name!r}")
        if not DAY_OR_MONTH.fullmatch(source["read"]):
            raise EvaluationError(
                f'reading {path}: the source {name!r} was read on {source["read"]!r}; expected "2026-11-20", or '
                '"2026-11" where the day was not noted.'
            )
    return tuple(_figure(figure, sources, f"{path}: figure {n}") for n, figure in enumerate(figures, 1))


def _figure(figure: Any, sources: Mapping[str, Mapping[str, Any]], where: str) -> Published:
    _check_fields(figure, FIGURE_FIELDS, where)
    if figure["source"] not in sources:
        raise EvaluationError(
            f"reading {where}: its source {figure['source']!r} is not described; expected [sources.{figure['source']}] "
            "with title, address, read and harness. A figure without a source is not shown."
        )
    if len(figure["quote"].split()) > MOST_QUOTED:
        raise EvaluationError(f"reading {where}: the quotation has more than {MOST_QUOTED} words; shorten it.")
    if not 0 <= figure["percent"] <= 100:
        raise EvaluationError(f"reading {where}: percent = {figure['percent']}; expected 0 to 100.")
    stated = {name: value for name, value in figure.items() if name != "source"}
    return Published(**{**stated, **sources[figure["source"]], "percent": float(figure["percent"])})


def _check_fields(table: Any, fields: Mapping[str, Any], where: str) -> None:
    """Raises EvaluationError unless the table has these fields, of these types, and no others."""
    if not isinstance(table, dict):
        raise EvaluationError(f"reading {where}: got {table!r}; expected a table.")
    if missing := sorted(fields.keys() - table.keys()):
        raise EvaluationError(
            f"reading {where}: {', '.join(missing)} missing; state where the figure was read, and when."
        )
    if unknown := sorted(table.keys() - fields.keys()):
        raise EvaluationError(f"reading {where}: unknown {', '.join(unknown)}; expected {', '.join(fields)}.")
    for name, kind in fields.items():
        value = table[name]
        if not isinstance(value, kind) or isinstance(value, bool) or (value == "" and name not in MAY_BE_EMPTY):
            raise EvaluationError(f"reading {where}: {name} = {value!r} says nothing; state it.")
