"""The figures of lessons that no report has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ouvert.evaluation.comparison import Interval
from ouvert.evaluation.report.charts import (
    FAINT,
    INK,
    SHAPES,
    WIDTH,
    colour,
    drawing,
    finished,
    percent_axis,
    plain_axes,
    text_of,
)
from ouvert.evaluation.statistics import smallest_visible, wilson_interval
from ouvert.evaluation.wording import Wording


@dataclass(frozen=True, slots=True)
class Course:
    """One contestant's answers in the order of asking: right or wrong."""

    place: int
    label: str
    rights: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Bar:
    """One contestant's seconds for a right answer; `leaves`: they were spent elsewhere."""

    place: int
    label: str
    value: float
    interval: Interval | None
    leaves: bool


def running_shares(courses: Sequence[Course], words: Wording) -> str:
    """Share right after so many questions, with bands of 95 %."""
    with drawing("lesson-luck", WIDTH, 3.2) as figure:
        axes = figure.add_axes((0.1, 0.15, 0.87, 0.81))
        plain_axes(axes)
        for course in courses:
            asked = range(1, len(course.rights) + 1)
            right = [sum(course.rights[:n]) for n in asked]
            bands = [wilson_interval(k, n) for k, n in zip(right, asked, strict=True)]
            ink = colour(course.place)
            axes.fill_between(asked, [band.low for band in bands], [band.high for band in bands], color=ink, alpha=0.15,
                              linewidth=0)  # fmt: skip
            shares = [k / n for k, n in zip(right, asked, strict=True)]
            axes.plot(asked, shares, color=ink, linewidth=1.5)
            axes.plot([asked[-1]], [shares[-1]], SHAPES[course.place % len(SHAPES)], color=ink, markersize=6)
            axes.annotate(text_of(course.label, 24), (asked[-1], shares[-1]), (-6, 7), textcoords="offset points",
                          ha="right", color=INK)  # fmt: skip
        axes.set(xlim=(0, len(courses[0].rights) + 1), ylim=(0, 1), xlabel=words("chart.questions"),
                 ylabel=words("chart.share"))  # fmt: skip
        percent_axis(axes.yaxis, words)
        return finished(figure, "lesson-luck")


def letters(chosen: Mapping[str, Mapping[str, int]], places: Mapping[str, int], words: Wording, right: str) -> str:
    """How often each letter was chosen: a group of bars a letter. `right`: the label whose bars say what is right."""
    alphabet = sorted({letter for counts in chosen.values() for letter in counts})
    width = 0.8 / len(chosen)
    with drawing("lesson-letters", WIDTH, 3.0) as figure:
        axes = figure.add_axes((0.1, 0.15, 0.87, 0.74))
        plain_axes(axes)
        for number, (label, counts) in enumerate(chosen.items()):
            at = [place + width * (number - (len(chosen) - 1) / 2) for place in range(len(alphabet))]
            ink = FAINT if label == right else colour(places[label])
            axes.bar(at, [counts.get(letter, 0) for letter in alphabet], width * 0.92, color=ink,
                     label=text_of(label, 30))  # fmt: skip
        axes.set_xticks(range(len(alphabet)), labels=alphabet)
        axes.set_ylabel(words("chart.times"))
        axes.legend(frameon=False, ncols=len(chosen), loc="lower left", bbox_to_anchor=(0, 1), labelcolor=INK)
        return finished(figure, "lesson-letters")


def visible_differences(n: int, discordant: float, found: float, words: Wording) -> str:
    """The smallest difference that so many questions show, in points; our run as a dot, what it found as a line."""
    most = max(400, 5 * n)  # four times as many halve the number
    counts = sorted({*range(10, most, max(1, most // 80)), n, most})
    with drawing("lesson-proof", WIDTH, 3.0) as figure:
        axes = figure.add_axes((0.1, 0.16, 0.87, 0.8))
        plain_axes(axes)
        points = [100 * smallest_visible(count, discordant) for count in counts]
        axes.plot(counts, points, color=colour(0), linewidth=1.6)
        axes.plot([n], [100 * smallest_visible(n, discordant)], "o", color=colour(0), markersize=7)
        axes.axhline(100 * abs(found), color=FAINT, linewidth=1.2, linestyle="--")
        axes.set(xlim=(0, most), ylim=(0, max(points[counts.index(n)] * 2, 100 * abs(found)) * 1.08),
                 xlabel=words("chart.questions"), ylabel=words("chart.points"))  # fmt: skip
        return finished(figure, "lesson-proof")


def right_answer_times(bars: Sequence[Bar], words: Wording) -> str:
    """Seconds for a right answer, one bar a contestant; hatched where they were spent elsewhere."""
    height = 0.55 + 0.36 * len(bars)
    most = max(bar.interval.high if bar.interval else bar.value for bar in bars)
    with drawing("lesson-local", WIDTH, height) as figure:
        axes = figure.add_axes((0.34, 0.42 / height, 0.62, 1 - 0.5 / height))
        plain_axes(axes)
        for row, bar in enumerate(bars):
            ink = colour(bar.place)
            axes.barh([row], [bar.value], 0.55, color="none" if bar.leaves else ink, edgecolor=ink,
                      hatch="////" if bar.leaves else None)  # fmt: skip
            if bar.interval:
                axes.hlines(row, bar.interval.low, bar.interval.high, color=INK, linewidth=1.2)
        axes.set_yticks(range(len(bars)), labels=[text_of(bar.label) for bar in bars])
        axes.set(xlim=(0, most * 1.05), ylim=(len(bars) - 0.5, -0.5), xlabel=words("chart.seconds_right"))
        digits = 0 if most >= 8 else 1
        axes.xaxis.set_major_formatter(lambda value, _: words.number(value, digits))
        return finished(figure, "lesson-local")
