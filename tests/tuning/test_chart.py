"""The losses of a run as SVG and in a terminal."""

import math
import xml.etree.ElementTree as ElementTree

import pytest

from ouvert.tuning.chart import ROWS, curves_of, lines_of, smoothed, svg_of, ticks

ROWS_OF_A_RUN = [{"step": 0, "held_out": 4.0}] + [
    row
    for step in range(1, 41)
    for row in (
        [{"step": step, "loss": 4.0 * math.exp(-step / 10)}]
        + ([{"step": step, "held_out": 4.0 * math.exp(-step / 10) + 0.2}] if step % 8 == 0 else [])
    )
]


def test_nothing_is_drawn_before_anything_is_known():
    assert curves_of([], 10) is None
    assert curves_of([{"step": 1, "loss": math.nan}], 10) is None


def test_the_picture_is_svg_with_both_curves_and_their_ends():
    svg = svg_of(curves_of(ROWS_OF_A_RUN, 40), "a <title> & more")
    tree = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    assert tree.find(f"{space}title").text == "a <title> & more"
    assert len(tree.findall(f"{space}polyline")) == 2
    assert len(tree.findall(f"{space}circle")) == 6
    words = [each.text for each in tree.findall(f"{space}text")]
    assert any(word.startswith("held out 0.27") for word in words)
    assert "step" in words
    for line in tree.findall(f"{space}polyline"):
        for x, y in (map(float, point.split(",")) for point in line.get("points").split()):
            assert 0 <= x <= 760
            assert 0 <= y <= 340


@pytest.mark.parametrize("rows", [[{"step": 1, "loss": 2.0}], [{"step": 0, "held_out": 0.0}], ROWS_OF_A_RUN])
def test_a_terminal_gets_lines_that_fit(rows):
    for width in (10, 30, 80, 200):
        lines = lines_of(curves_of(rows, 40), width)
        assert max(map(len, lines)) <= max(width, 40)
        assert len(lines) == ROWS + 3
    assert sum(line.count("o") for line in lines[:ROWS]) == sum("held_out" in row for row in rows)


def test_what_is_trained_is_smoothed():
    assert smoothed([(1, 1.0), (2, 3.0), (3, 5.0)], 2) == [(1, 1.0), (2, 2.0), (3, 4.0)]
    assert smoothed([(1, 1.0), (2, 3.0)], 1) == [(1, 1.0), (2, 3.0)]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.31, 4.7), (1e-4, 2e-4), (-3, 1000)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high, 5)
    assert 2 <= len(found) <= 6
    assert all(low <= each <= high for each in found)
