"""Figures of others stand apart, each with where and when it was read."""

import dataclasses
import re

import pytest

from ouvert.evaluation import EvaluationError
from ouvert.evaluation.comparison import Comparison, Row, RowScore
from ouvert.evaluation.published import FIGURES, Published, published, read_published

SOUND = """
[sources.card]
title = "A card"
address = "arXiv 1"
read = "2026-11-20"
harness = "not the same"

[[figures]]
source = "card"
place = "Table 1"
quote = "a b c"
benchmark = "MMLU"
language = "en"
metric = "accuracy"
model = "m"
effort = ""
percent = 50
"""


def read(tmp_path, text):
    (path := tmp_path / "published.toml").write_text(text)
    return read_published(path)


def test_every_figure_of_ours_says_where_and_when_it_was_read():
    figures = published()
    assert len(figures) > 40
    for figure in figures:
        assert figure.title
        assert figure.place
        assert "not the same" in figure.harness
        assert figure.read == "2026-11"  # no day was noted
    assert len({(each.benchmark, each.model, each.effort) for each in figures}) == len(figures)


@pytest.mark.parametrize("when", ["20 November 2026", "2026", "2026-11-", "2026-99-01"])
def test_a_source_read_on_no_day_and_in_no_month_is_refused(tmp_path, when):
    with pytest.raises(EvaluationError, match="was read on"):
        read(tmp_path, SOUND.replace("2026-11-20", when))


def test_values_are_those_of_the_card():
    found = {(each.benchmark, each.model, each.effort): each.percent for each in published()}
    assert found["MMMLU", "gpt-oss-20b", "high"] == 80.2
    assert [found["tau-bench airline", "gpt-oss-20b", effort] for effort in ("low", "medium", "high")] == [32, 42.6, 38]
    assert found["HealthBench", "GPT-4o", ""] == 32.0


def test_a_sound_file_is_read(tmp_path):
    (figure,) = read(tmp_path, SOUND)
    assert (figure.percent, figure.title, figure.read) == (50.0, "A card", "2026-11-20")


@pytest.mark.parametrize("field", re.findall(r"^(\w+) =", SOUND, re.MULTILINE))
def test_an_entry_that_lacks_a_field_is_refused(tmp_path, field):
    text = re.sub(rf"^{field} = .*\n", "", SOUND, count=1, flags=re.MULTILINE)
    with pytest.raises(EvaluationError, match=f"{field} missing"):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('source = "card"', 'source = "another"', "not described"),
        ('title = "A card"', 'title = ""', "title"),
        ('place = "Table 1"', 'place = ""', "place"),
        ("2026-11-20", "lately", "was read on 'lately'"),
        ('quote = "a b c"', f'quote = "{"word " * 26}"', "more than 25 words"),
        ("percent = 50", "percent = 101", "0 to 100"),
        ("percent = 50", "percent = true", "percent"),
        ("percent = 50", "percent = 50\nrank = 1", "rank"),
        ("[[figures]]", "[[rows]]", "rows"),
        ("[sources.card]", "[sources", "reading published figures"),
    ],
)
def test_an_entry_that_could_not_be_checked_by_a_reader_is_refused(tmp_path, old, new, said):
    with pytest.raises(EvaluationError, match=said):
        read(tmp_path, SOUND.replace(old, new))


def test_no_value_of_a_comparison_can_hold_a_published_figure():
    for measured in (Comparison, Row, RowScore):
        assert not any("Published" in str(field.type) for field in dataclasses.fields(measured))
    assert "contestant" not in {field.name for field in dataclasses.fields(Published)}
    assert FIGURES.name == "published.toml"
