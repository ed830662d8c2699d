"""The losses (or rewards) of a run as a picture: an SVG file, and lines for a terminal."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from ouvert.tuning.metrics import followed

WIDTH, HEIGHT = 760, 340  # of the SVG
LEFT, RIGHT, TOP, BOTTOM = 56, 110, 44, 40
TRAINED, HELD_OUT, INK, GRID = "#1b6ca8", "#c2410c", "#444444", "#dddddd"
ROWS = 12  # of the terminal's chart
MARKS = {"trained": "·", "held out": "o"}

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curves:
    """(step, loss or reward) of what is trained, smoothed, and of what is held out."""

    trained: tuple[Point, ...]
    held_out: tuple[Point, ...]
    steps: int

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest loss; apart from each other. Raises ValueError where there is none."""
        values = [loss for _, loss in (*self.trained, *self.held_out)]
        least, most = min(values), max(values)
        room = (most - least) * 0.05 or max(abs(most) * 0.05, 0.01)
        return least - room, most + room


def curves_of(rows: Sequence[Mapping[str, Any]], steps: int) -> Curves | None:
    """Of a run's metrics, what `followed` says; `steps` that it will have. None where there is nothing to show yet.
    Raises nothing."""
    trained, held_out = (
        [(float(row["step"]), float(row[name])) for row in rows if name in row] for name in followed(rows)
    )
    finite = [[point for point in each if math.isfinite(point[1])] for each in (trained, held_out)]
    if not any(finite):
        return None
    return Curves(tuple(smoothed(finite[0], max(len(finite[0]) // 25, 1))), tuple(finite[1]), max(steps, 1))


def smoothed(points: Sequence[Point], window: int) -> list[Point]:
    """The mean of so many steps up to each. Raises nothing."""
    found, total = [], 0.0
    for n, (step, loss) in enumerate(points):
        total += loss - (points[n - window][1] if n >= window else 0.0)
        found.append((step, total / min(n + 1, window)))
    return found


# --- SVG ---


def svg_of(curves: Curves, title: str) -> str:
    """A whole file, in English. Raises nothing."""
    low, high = curves.bounds
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(point: Point) -> Point:
        return (
            LEFT + inner_width * point[0] / curves.steps,
            TOP + inner_height * (high - point[1]) / (high - low),
        )

    parts = [text(LEFT, 22, title, size=15, weight="600")]
    for value in ticks(low, high, 5):
        y = place((0, value))[1]
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        parts.append(text(LEFT - 8, y + 4, f"{value:g}", anchor="end"))
    for value in ticks(0, curves.steps, 6):
        parts.append(text(place((value, low))[0], HEIGHT - BOTTOM + 18, f"{value:g}", anchor="middle"))
    parts.append(text(LEFT + inner_width / 2, HEIGHT - 6, "step", anchor="middle"))
    drawn = [("trained", TRAINED, curves.trained), ("held out", HELD_OUT, curves.held_out)]
    drawn = sorted((each for each in drawn if each[2]), key=lambda each: each[2][-1][1])
    for name, colour, points in drawn:  # the one that ends lower has its name below its end
        below = 12 if name == drawn[0][0] and len(drawn) > 1 else -4
        parts += curve(f"{name} {points[-1][1]:.3g}", colour, [place(point) for point in points], below)
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="12" fill="{INK}">\n'
        f"<title>{escape(title)}</title>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{inside}\n</svg>\n'
    )


def curve(label: str, colour: str, points: Sequence[Point], below: int) -> list[str]:
    x, y = points[-1]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>',
        *(dots if colour == HELD_OUT else ()),  # measured now and then
        text(x + 8, y + below, label, fill=colour),
    ]


def text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, weight: str = "", fill: str = ""
) -> str:
    beside = f' text-anchor="{anchor}"' * (anchor != "start") + f' font-size="{size}"' * (size != 12)
    beside += f' font-weight="{weight}"' * bool(weight) + f' fill="{fill}"' * bool(fill)
    return f'<text x="{x:.1f}" y="{y:.1f}"{beside}>{escape(words)}</text>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between the two, `most` at most and as many as that allows. Raises nothing."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough)
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step) + 1)]


# --- a terminal ---


def lines_of(curves: Curves, width: int) -> list[str]:
    """The chart in so many columns, 40 at least. Raises nothing."""
    low, high = curves.bounds
    columns = max(width, 40) - 9
    grid = [[" "] * columns for _ in range(ROWS)]
    for name, points in (("trained", curves.trained), ("held out", curves.held_out)):
        for step, loss in points:
            column = min(round((columns - 1) * step / curves.steps), columns - 1)
            row = min(round((ROWS - 1) * (high - loss) / (high - low)), ROWS - 1)
            grid[row][column] = MARKS[name]
    found = []
    for n, cells in enumerate(grid):
        value = high - (high - low) * n / (ROWS - 1)
        label = f"{value:7.3g} " if n % 3 == 0 or n == ROWS - 1 else " " * 8
        found.append(f"{label}|{''.join(cells)}".rstrip())
    end = f"step {curves.steps}"
    found.append(f"{'':8}+{'-' * columns}")
    found.append(f"{'':9}0{end:>{columns - 1}}")
    found.append(f"{'':9}" + "   ".join(f"{mark} {name}" for name, mark in MARKS.items()))
    return found
