"""What all views have in common: what they say of themselves, and the forms that they are shown in."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np

from ouvert.inspection.error import InspectionError
from ouvert.inspection.graph_lines import How, Lines

# What was seen while nothing was changed; or what came of a change. Only the latter says anything about causes.
Kind = Literal["observation", "intervention"]
KINDS = get_args(Kind)
DIGITS = 5  # behind the point, in JSON: enough to read, and half the size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class View:
    """One view of a trace. Arrays are float32, or int64 of ids and places; `json()` rounds them to DIGITS.

    `how` it is computed; `kind`: "observation", or "intervention" where the trace is of an edited model. Its methods
    raise nothing.
    """

    view: ClassVar[str]  # its name in JSON

    how: How
    kind: Kind = "observation"

    def json(self) -> dict[str, Any]:
        """The view as docs/formats/trace.md has it."""
        own = {field.name: as_json(getattr(self, field.name)) for field in fields(self) if field.name not in BESIDE}
        return {"view": self.view, "kind": self.kind, "how": how_facts(self.how), **own}

    def table(self) -> list[dict[str, Any]]:
        """One dictionary a row, for `pandas.DataFrame` or for reading."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """The view of its JSON. Raises InspectionError for an object of another form."""
        given = dict(facts)
        try:
            if given.pop("view") != cls.view:
                raise KeyError(cls.view)
            how = How(given["how"]["says"], tuple(Lines(**each) for each in given.pop("how")["lines"]))
            arrays = {each.name for each in fields(cls) if "ndarray" in str(each.type)}
            return cls(how=how, **{key: from_list(value) if key in arrays else value for key, value in given.items()})
        except (KeyError, TypeError, ValueError) as problem:
            raise InspectionError(
                f"reading a view: it is {str(facts)!r:.80} ({problem!r:.80}), expected a {cls.view} as "
                "docs/formats/trace.md has it. Make the trace again."
            ) from problem

    def __repr__(self) -> str:
        return f"{self.view} ({self.kind})\n{text_table(self.table())}"

    def _repr_html_(self) -> str:
        """The table with its heading, for notebooks."""
        lines = "".join(f"<pre>{escape(f'{at.file}:{at.first}')}\n{escape(at.text)}</pre>" for at in self.how.lines)
        return (
            f"<figure><figcaption>{escape(self.view)} ({self.kind})</figcaption>{html_table(self.table())}"
            f"<details><summary>How this is computed</summary><p>{escape(self.how.says)}</p>{lines}</details></figure>"
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}


BESIDE = frozenset({"how", "kind"})
MOST_ROWS = 200  # of a table in a notebook


def how_facts(how: How) -> dict[str, Any]:
    return {"says": how.says, "lines": [asdict(lines) for lines in how.lines]}


def as_json(value: Any) -> Any:
    """Arrays as nested lists, rounded; what is not a number (NaN, infinity) as null."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind in "iub":
        return value.tolist()
    rounded = np.round(value.astype(np.float64), DIGITS)
    listed = rounded.tolist()
    return listed if np.isfinite(rounded).all() else without_holes(listed)


def without_holes(value: Any) -> Any:
    if isinstance(value, list):
        return [without_holes(each) for each in value]
    return value if np.isfinite(value) else None


def from_list(value: Any) -> Any:
    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype == object:  # null among numbers
        array = np.asarray(value, np.float64)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first MOST_ROWS rows, each cell escaped."""
    if not rows:
        return "<p>nothing</p>"
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(shown(value))}</td>" for value in row.values()) + "</tr>"
        for row in rows[:MOST_ROWS]
    )
    more = f"<p>{len(rows) - MOST_ROWS} more rows: <code>.table()</code></p>" if len(rows) > MOST_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Columns of equal width, the first MOST_ROWS rows, and how many more there are. Raises nothing."""
    if not rows:
        return "nothing"
    lines = [list(rows[0]), *([shown(value) for value in row.values()] for row in rows[:MOST_ROWS])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    more = [f"{len(rows) - MOST_ROWS} more rows: .table(), --json"] if len(rows) > MOST_ROWS else []
    return "\n".join([*table, *more])


def shown(value: Any) -> str:
    """A cell for people, on one line."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return repr(value) if value.strip() != value or not value.isprintable() or not value else value
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
