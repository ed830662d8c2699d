"""Lessons are filled from a run: each number in them is the run's, and what the run lacks is said."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product

import pytest
from tests.evaluation.made_up import made_up_comparison, made_up_suites

from ouvert.evaluation import EvaluationError, analyse, write_lessons
from ouvert.evaluation.comparison import Damage, EffortPoint, GroupScore, Interval, Speed
from ouvert.evaluation.lessons.filled import MissingError
from ouvert.evaluation.lessons.fillings import LESSONS, broken_at, exact_p, separated
from ouvert.evaluation.lessons.run import Run
from ouvert.evaluation.lessons.sheet import sheet
from ouvert.evaluation.wording import Wording

LEVELS = ("school", "university", "team")


class Read(HTMLParser):
    """What a page refers to, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src", "srcset", "data") and value]

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    made_up_suites(monkeypatch)
    with made_up_comparison(tmp_path / "run") as found:
        yield found


@pytest.fixture
def whole(evidence):
    """A run that fills all seven: what the made-up one lacks is added."""
    found = analyse(evidence)
    near = Interval(0.3, 0.5)

    def damage(language, divergence):
        around = Interval(divergence * 0.9, divergence * 1.1)
        return Damage(
            contestant="weak", reference="strong", language=language, tokens=900, windows=9, divergence=divergence,
            divergence_interval=around, flips=0.05, flips_interval=near, change=-0.01, change_interval=near,
        )  # fmt: skip

    def effort(name, share, tokens, knee):
        return EffortPoint(
            model="strong", effort=name, contestant="strong", share=share, interval=near, output_tokens=tokens,
            thought_tokens=tokens / 2, seconds=1.0, joules=None, knee=knee,
        )  # fmt: skip

    def in_steps(score, shares):
        steps = [
            GroupScore(group=f"arithmetic-{n + 1}", n=10, share=share, interval=near) for n, share in enumerate(shares)
        ]
        return replace(score, groups=tuple(steps))

    sums = next(row for row in found.rows if row.row == "sums/en")
    ladder = replace(
        sums, row="ladder/en", suite="ladder",
        scores=tuple(map(in_steps, sums.scores, ((1, 0.8, 0.2), (0.4, 0.1, 0)))),
    )  # fmt: skip
    timed = tuple(
        Speed(contestant=label, n=5, whole=whole, visible=whole, per_right=right, per_right_interval=Interval(1, 9))
        for label, whole, right in (("strong", 4.0, 5.0), ("weak", 1.0, 8.0))
    )
    return Run(
        replace(
            found, rows=(*found.rows, ladder), damages=(damage("en", 0.04), damage("fr", 0.08)), speeds=timed,
            efforts=(effort("low", 0.4, 100, True), effort("high", 0.5, 400, False)),
        ),
        evidence,
    )  # fmt: skip


def test_every_lesson_is_filled_in_both_languages_at_every_level(whole):
    for language, (name, fill) in product(("en", "fr"), LESSONS.items()):
        words = Wording("lessons", language)
        filled = fill(whole, words)
        assert filled == fill(whole, words), "not the same bytes twice"
        for level in LEVELS:
            require_sheet(sheet(whole, name, filled, level, words), name, language)


def require_sheet(page, name, language):
    """A page that needs nothing from elsewhere, with every place filled."""
    read = Read(page)
    assert not re.search(r"\{\w+\}", read.text), name
    assert "script" not in read.tags
    assert [link for link in read.links if not link.startswith("#")] == []
    assert not re.search(r"https?://(?!www\.w3\.org)", re.sub(r"<li>.*?</li>", "", page)), "from elsewhere"
    assert "default-src 'none'" in page
    assert read.tags.count("details") == 3
    assert f'lang="{language}"' in page
    assert len(page.encode()) < 60_000


def test_numbers_of_a_lesson_are_the_runs(whole):
    words = Wording("lessons", "en")
    filled = LESSONS["luck"](whole, words).values
    pair = whole.pair_to_tell()
    assert (filled["only_first"], filled["n"]) == (str(pair.only_first), str(pair.n))
    assert filled["better"] == "strong"
    assert LESSONS["bits"](whole, words).values["worse"] == "In French: 2.0 times as far as in English."
    ladder = LESSONS["ladder"](whole, words).values
    assert (ladder["best_step"], ladder["worst_step"]) == ("sums 3", "sums 1")
    assert LESSONS["effort"](whole, words).values["cost"] == "About 30 tokens a question for each point."
    local = LESSONS["local"](whole, words).values
    assert (local["fastest"], local["fastest_right"]) == ("weak", "strong")
    assert local["joules"] == "not measurable here"


def test_a_run_without_what_a_lesson_needs_is_told_which_command_gives_it(evidence, tmp_path):
    run = Run.of(evidence)
    words = Wording("lessons", "en")
    needs = set()
    for name in ("bits", "effort", "ladder", "local"):
        with pytest.raises(MissingError) as lacking:
            LESSONS[name](run, words)
        needs.add(lacking.value.need)
    assert needs == {"damage", "effort", "ladder", "speed"}
    assert all("`ouvert compare" in words(f"need.{need}") for need in needs)


def test_lessons_are_written_into_the_folder_and_sealed_with_it(evidence, tmp_path):
    folder = tmp_path / "run"
    written = write_lessons(folder, language="fr", level="lycée", numbers=(1, 3, 4))
    assert sorted(written.pages) == [1, 3]
    assert sorted(written.missing) == [4]
    assert written.pages[1].name == "1-luck.fr.school.html"
    assert "lessons/1-luck.fr.school.html" in (folder / "manifest.json").read_text()
    assert "Est-ce" in written.pages[1].read_text(encoding="utf-8").replace("est-ce", "Est-ce")


def test_a_level_or_a_number_that_there_is_not_is_refused(evidence, tmp_path):
    with pytest.raises(EvaluationError, match="primaire"):
        write_lessons(tmp_path / "run", level="primaire")
    with pytest.raises(EvaluationError, match="no lesson 8"):
        write_lessons(tmp_path / "run", numbers=(8,))


def test_bands_are_apart_only_from_where_they_stay_apart():
    always, never = [True] * 40, [False] * 40
    assert separated(always, never) == 4
    assert separated(always, always) is None
    assert separated([True] * 10 + [False] * 10, [False] * 10 + [True] * 10) is None


def test_a_ladder_breaks_at_the_first_step_below_one_half(whole):
    row = whole.row("ladder/en")
    words = Wording("lessons", "en")
    held = replace(row.scores[0], groups=tuple(replace(group, share=0.5) for group in row.scores[0].groups))
    assert broken_at(held, words) == "nowhere: it held to the last step"


def test_the_exact_p_is_that_of_a_fair_coin():
    assert exact_p(0, 5) == pytest.approx(2 / 32)
    assert exact_p(3, 3) == 1.0
