"""The charts of a report, drawn by matplotlib: the same bytes every time, with text that stays text.

Each function returns one SVG in one language. What the axes span does not depend on the language, so that the two
versions of a chart differ in their texts only.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.error import EvaluationError
from ouvert.evaluation.report.svg import compact
from ouvert.evaluation.report.visible import one_line, shortened
from ouvert.evaluation.wording import Wording

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"  # `svg` gives them the page's colours
SHAPES = ("o", "s", "^", "D", "v", "P", "*", "p")  # as the marks in the page's text
WIDTH, TEXT = 6.2, 8.5  # inches, points


@dataclass(frozen=True, slots=True)
class Mark:
    """One contestant's value in a row of a chart; `place` decides colour and shape. `faint`: at a floor."""

    place: int
    share: float
    interval: Interval
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the interval plot. `baseline`: what guessing gets. `said`: a word at the right edge."""

    name: str
    marks: tuple[Mark, ...]
    baseline: float
    primary: bool
    said: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """A contestant in the plane: seconds (or tokens) across, share right upwards."""

    place: int
    label: str
    x: float
    y: float
    x_interval: Interval | None = None
    y_interval: Interval | None = None


def colour(place: int) -> str:
    return f"#0a0a{place % len(SHAPES):02x}"


@contextmanager
def drawing(name: str, width: float, height: float) -> Iterator["Figure"]:
    """A figure whose SVG depends on nothing but what is drawn. Raises EvaluationError without matplotlib."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise EvaluationError(
            "drawing the charts of a report: matplotlib is not installed, and it is what draws them. "
            f"Install it: `{sys.executable} -m pip install matplotlib`. The answers are kept; then: `ouvert compare "
            "report DIR`."
        ) from None
    fixed: Any = {
        "svg.fonttype": "none", "svg.hashsalt": name, "font.family": "DejaVu Sans", "font.size": TEXT,
        "text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.linewidth": 0.6,
        "xtick.color": FAINT, "ytick.color": FAINT, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
        "xtick.major.size": 2.5, "ytick.major.size": 2.5, "path.simplify": False, "text.parse_math": False,
    }  # fmt: skip
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(fixed)
        yield Figure(figsize=(width, height))


def finished(figure: "Figure", name: str) -> str:
    written = StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return compact(written.getvalue(), name)


def text_of(label: str, most: int = 44) -> str:
    """A label for a chart: one line, shortened."""
    short, left = shortened(one_line(label), most)
    return short + ("…" if left else "")


def plain_axes(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)


def percent_axis(axis: Any, words: Wording) -> None:
    axis.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=[words.percent(share) for share in (0, 0.25, 0.5, 0.75, 1)])


def intervals(lines: Sequence[Line], words: Wording) -> str:
    """One row a line, its name above it; one mark a contestant, its interval as a bar; a stroke where guessing is."""
    marks = max(len(line.marks) for line in lines)
    with rows_of("intervals", lines, 0.3 + 0.15 * marks) as (figure, axes, step):
        for row, line in enumerate(lines):
            one_line_of(axes, row, line, 0.15 / step)
        axes.set(xlim=(0, 1), xlabel=words("chart.share"))
        percent_axis(axes.xaxis, words)
        return finished(figure, "intervals")


@contextmanager
def rows_of(name: str, lines: Sequence[Line], step: float) -> Iterator[tuple["Figure", "Axes", float]]:
    """Axes with a row for each line, `step` inches apart; its name stands above it, from the left edge on."""
    above, below = 0.06, 0.42  # inches
    height = above + below + step * len(lines)
    with drawing(name, WIDTH, height) as figure:
        axes = figure.add_axes((0.03, below / height, 0.93, 1 - (above + below) / height))
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set_yticks([])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(True, axis="x", color=GRID, linewidth=0.5)
        axes.set_axisbelow(True)
        for row, line in enumerate(lines):
            text = text_of(line.name, 80) + (f" — {line.said}" if line.said else "")
            axes.annotate(text, (0, row - 0.5), (0, -7), xycoords=("axes fraction", "data"), va="top",
                          textcoords="offset points", color=INK if line.primary else FAINT,
                          fontweight="bold" if line.primary else "normal", annotation_clip=False)  # fmt: skip
        yield figure, axes, step


def one_line_of(axes: "Axes", row: int, line: Line, apart: float) -> None:
    middle = row + 0.5 - apart * (len(line.marks) / 2 + 0.35)  # the name is above
    half = apart * len(line.marks) / 2
    axes.vlines(
        line.baseline, middle - half, middle + half, color=INK, linewidth=1.1, linestyle=(0, (2, 1.5)), clip_on=False
    )
    for number, mark in enumerate(line.marks):
        y, ink = middle + apart * (number - (len(line.marks) - 1) / 2), FAINT if mark.faint else colour(mark.place)
        axes.hlines(y, mark.interval.low, mark.interval.high, color=ink, linewidth=1.6, clip_on=False)
        inside = PAPER if mark.faint else ink
        axes.plot([mark.share], [y], SHAPES[mark.place % len(SHAPES)], markersize=5, color=ink,
                  markerfacecolor=inside, markeredgewidth=1, clip_on=False)  # fmt: skip


def plane(name: str, points: Sequence[Point], words: Wording, across: str, joined: Sequence[Sequence[int]] = ()) -> str:
    """Share right against what it takes (`across` names it). `joined`: points of one model, by their numbers."""
    with drawing(name, WIDTH, 3.2) as figure:
        axes = figure.add_axes((0.105, 0.15, 0.865, 0.81))
        plain_axes(axes)
        for line in joined:
            axes.plot([points[n].x for n in line], [points[n].y for n in line], color=FAINT, linewidth=1)
        for point in points:
            one_point(axes, point)
        most = max([point.x for point in points] + [each.x_interval.high for each in points if each.x_interval])
        axes.set(xlim=(0, most * 1.25 or 1), ylim=(-0.02, 1.06), xlabel=across, ylabel=words("chart.share"))
        percent_axis(axes.yaxis, words)
        digits = 0 if most >= 8 else 1 if most >= 0.8 else 2
        axes.xaxis.set_major_formatter(lambda value, _: words.number(value, digits))
        return finished(figure, name)


def one_point(axes: "Axes", point: Point) -> None:
    ink = colour(point.place)
    if point.x_interval:
        axes.hlines(point.y, point.x_interval.low, point.x_interval.high, color=ink, linewidth=1.4)
    if point.y_interval:
        axes.vlines(point.x, point.y_interval.low, point.y_interval.high, color=ink, linewidth=1.4)
    axes.plot([point.x], [point.y], SHAPES[point.place % len(SHAPES)], color=ink, markersize=6)
    axes.annotate(text_of(point.label, 60), (point.x, point.y), (7, 5), textcoords="offset points", color=INK,
                  annotation_clip=False)  # fmt: skip


def reliability(curves: Sequence[tuple[int, Sequence[tuple[float, float, int]]]], words: Wording) -> str:
    """What a contestant was sure of against what was right; on the dashed line the two are equal."""
    with drawing("reliability", WIDTH, 3.2) as figure:
        axes = figure.add_axes((0.1, 0.15, 0.5, 0.81))
        plain_axes(axes)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
        for place, bins in curves:
            axes.plot([each[0] for each in bins], [each[1] for each in bins], marker=SHAPES[place % len(SHAPES)],
                      color=colour(place), linewidth=1.2, markersize=5)  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=words("chart.sure"), ylabel=words("chart.share"))
        percent_axis(axes.xaxis, words)
        percent_axis(axes.yaxis, words)
        return finished(figure, "reliability")


def divergences(lines: Sequence[Line], words: Wording) -> str:
    """KL against the reference, by contestant and language: one row a contestant, one mark a language."""
    most = max(mark.interval.high for line in lines for mark in line.marks)
    with rows_of("divergences", lines, 0.3 + 0.15 * max(len(line.marks) for line in lines)) as (figure, axes, step):
        for row, line in enumerate(lines):
            one_line_of(axes, row, line, 0.15 / step)
        axes.set(xlim=(0, most * 1.08 or 1), xlabel=words("chart.divergence"))
        axes.xaxis.set_major_formatter(lambda value, _: words.number(value, 3 if most < 0.1 else 2))
        return finished(figure, "divergences")
