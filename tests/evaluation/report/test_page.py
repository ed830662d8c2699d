"""report.html: whole in both languages, without a script, of itself alone, and the same bytes every time."""

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from tests.evaluation.report.made_up import (
    AWAY,
    HOSTILE,
    LARGE,
    SMALL,
    comparison,
    everything,
    facts,
    material,
    pair,
    row,
    score,
)
from tests.evaluation.report.reading_pages import read

from ouvert.evaluation import Outcome
from ouvert.evaluation.comparison import Speed
from ouvert.evaluation.report.outline import outline
from ouvert.evaluation.report.page import page
from ouvert.evaluation.report.visible import visible

MOST_BYTES, MOST_CHART = 300_000, 15_500


def written(made, language="en"):
    return page(outline(made, "en"), outline(made, "fr"), language)


@pytest.fixture(scope="module")
def html():
    return written(material())


@pytest.fixture(scope="module")
def found(html):
    return read(html)


def section(html, name):
    return re.search(f'<section id="{name}".*?</section>', html, re.DOTALL)[0]


def test_a_page_has_no_script_and_refers_to_nothing_outside_itself(html, found):
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "img"} & {tag for tag, _ in found.tags}
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    addresses = [
        value for _, all_of in found.tags for name, value in all_of.items() if name in ("src", "href", "action")
    ]
    assert addresses
    assert all(each.startswith("#") for each in addresses)
    style = html[: html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    policy = next(facts["content"] for tag, facts in found.tags if facts.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_a_page_is_small_even_with_answers_of_any_length(html):
    assert len(html.encode()) < MOST_BYTES
    for chart in re.findall("<svg.*?</svg>", html, re.DOTALL):
        assert len(chart.encode()) < MOST_CHART


@pytest.mark.parametrize(("rows", "contestants"), [(24, 2), (10, 4)])
def test_a_large_comparison_of_talkative_models_stays_small(rows, contestants):
    labels = [f"contestant {number}" for number in range(contestants)]
    many = tuple(
        row(f"suite-{number}", "en", "", number < 4, *(score(label, 0.4) for label in labels)) for number in range(rows)
    )
    pairs = tuple(
        pair(each.row, "not_shown", -0.1, 5, 15, names=names) for each in many for names in combinations(labels, 2)
    )
    values = comparison(contestants=tuple(map(facts, labels)), rows=many, pairs=pairs, speeds=(), resources=())
    made = material(values)
    talk = Outcome(text="A long answer, as small models like to give. " * 40)
    made = replace(made, given={key: replace(each, outcome=talk) for key, each in made.given.items()})
    assert len(written(made).encode()) < MOST_BYTES


def test_every_anchor_stands_once_and_every_link_leads_to_one(found):
    assert found.faults == []
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert {each.removeprefix("#") for each in found.links} <= set(found.ids)
    assert {"found", "contestants", "scores", "pairs", "cost", "privacy", "differ", "answers", "reading", "limits",
            "reproduce", "damage", "efforts", "calibration", "letters", "bits", "votes"} <= set(found.ids)  # fmt: skip


def test_a_page_is_the_same_in_another_process_with_other_hashes(html):
    code = (
        "import sys, hashlib; sys.path.insert(0, '.');"
        "from tests.evaluation.report.test_page import written, material;"
        "print(hashlib.sha256(written(material()).encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    root = Path(__file__).parents[3]
    other = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True)
    assert other.stdout.strip() == hashlib.sha256(html.encode()).hexdigest(), other.stderr


def test_both_languages_are_whole(html, found):
    english, french = found.text("en"), found.text("fr")
    assert "What was found" in english
    assert "Ce qui a été trouvé" in french
    for tag in ("h1", "h2", "th", "caption"):  # what has words has them in both languages, or in none
        for inside in re.findall(rf"<{tag}[ >].*?</{tag}>", html, re.DOTALL):
            assert inside.count('lang="en"') == inside.count('lang="fr"')
    assert "38,0" not in english
    assert "9.6 s" in english
    assert "9,6 s" in french
    assert "45%" not in french


def test_the_page_opens_in_the_language_asked_for():
    for language, title in (("en", "compared"), ("fr", "Comparaison")):
        opened = written(material(comparison()), language)
        assert f'<html lang="{language}">' in opened
        assert f'id="in-{language}" checked' in opened
        assert title in re.search("<title>(.*?)</title>", opened)[1]


def test_three_sentences_come_first_each_with_its_evidence(html):
    first = section(html, "found")
    sentences = re.findall('<p class="lead">.*?</p>', first, re.DOTALL)
    assert len(sentences) == 3
    for sentence in sentences:
        assert 'href="#' in sentence
    assert "is better than" in sentences[0]
    assert "+45 points [35;\u00a055]" in sentences[0]
    assert "could only have seen differences of about 12 points" in sentences[1]
    assert "does no better than guessing" in sentences[1]
    assert "29 s" in sentences[2]
    assert "not measurable here" in sentences[2]


def test_nothing_shows_a_difference_is_a_headline():
    rows = (row("tools", "en", "schema", True, score(SMALL, 0.45), score(LARGE, 0.52)),)
    pairs = (pair("tools/en/schema", "not_shown", -0.07, 9, 16, p=0.17, adjusted=0.17),)
    first = section(written(material(comparison(rows=rows, pairs=pairs))), "found")
    assert "Nothing here shows a difference" in first
    assert "is better" not in first


def test_only_primaries_name_a_winner_whatever_an_exploratory_row_says(html):
    first = section(html, "found")
    assert "Finding in a long text" not in first
    line = next(
        each for each in re.findall("<tr.*?</tr>", section(html, "pairs"), re.DOTALL) if "Finding in a long" in each
    )
    assert "exploratory" in line
    assert "better" not in line
    assert "among 4 such comparisons" in section(html, "pairs")
    assert "Holm" in section(html, "pairs")


def test_floors_have_a_sentence_of_their_own(html):
    scores = section(html, "scores")
    assert "A floor is a score that guessing reaches too" in scores
    assert "is at a floor in" in scores
    assert "est au plancher dans" in scores
    without = comparison(rows=(row("needle", "en", "", True, score(SMALL, 0.3), score(LARGE, 0.9)),), pairs=())
    assert "A floor is a score" not in section(written(material(without)), "scores")


def test_a_remote_contestant_leaves_the_machine_wherever_it_is_named():
    away = facts(AWAY, "remote", host="api.openai.com", replays=False, about={})
    values = everything(
        contestants=(facts(SMALL), away),
        rows=(row("ladder", "en", "", True, score(SMALL, 0.2), score(AWAY, 0.9)),),
        pairs=(pair("ladder/en", "second_better", -0.7, 0, 70, names=(SMALL, AWAY), p=0.0, adjusted=0.0),),
        speeds=(), resources=(), calibrations=(), damages=(), efforts=(), bits=(), passes=(), votes=(),
        limits={"remote": (AWAY,)},
    )  # fmt: skip
    html = written(material(values))
    named = re.findall(rf"<bdi>{AWAY}</bdi>(.{{0,40}})", html)
    assert len(named) > 8
    assert all("badge leaves" in each for each in named)
    assert 'class="card elsewhere"' in html
    assert "leaves the machine" in html
    assert "quitte la machine" in html
    assert "api.openai.com" in html
    assert "nothing can be repeated bit for bit" in section(html, "limits")


def test_hostile_text_is_shown_and_does_nothing(html, found):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "display:none}</style>" not in html.replace("{display:none}\n", "")
    assert "⟨U+202E⟩" in html
    assert "␛[31mred" in html
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html)
    assert re.search(r" … \+199\d{3}<", html)


def test_every_kind_of_hostile_text_can_be_encoded_and_stays_itself():
    for each in HOSTILE:
        shown = visible(each)
        shown.encode("utf-8")
        assert visible(shown) == shown
    assert visible("a\r\nb\tc") == "a\nb\tc"
    assert visible("é 数 שלום 👨‍👩‍👧") == "é 数 שלום 👨‍👩‍👧"


def test_hostile_names_of_contestants_and_suites_are_escaped():
    name = '<b onclick="x">"\'&\u202e{0}</b>'
    values = comparison(
        contestants=(facts(name), facts(LARGE)), pairs=(), speeds=(), resources=(),
        rows=(row("<i>suite</i>", "en", "<u>", True, score(name, 0.2, guess="<s>"), score(LARGE, 0.6)),),
    )  # fmt: skip
    found = read(written(material(values)))
    assert not {"u", "s"} & {tag for tag, _ in found.tags}
    assert not [attributes for _, attributes in found.tags if "onclick" in attributes]
    assert found.faults == []


def test_five_raw_answers_stand_under_every_score_and_none_of_a_suite_that_stays(html):
    answers = section(html, "answers")
    parts = re.split("<h3 id=", answers)[1:]
    assert len(parts) == 8
    for part in parts:
        if "My prompts" in part:
            assert "stay with their owner" in part
            assert "<pre" not in part
        else:
            assert part.count('class="short"') == 5
            assert part.count("✓") + part.count("✗") == 10
    assert "mine-0" not in html


def test_where_they_differ_one_got_what_the_other_missed(html):
    examples = re.findall('<div class="example">.*?</div></div></div>', section(html, "differ"), re.DOTALL)
    assert 0 < len(examples) <= 12
    for each in examples:
        assert each.count("badge right") == each.count("badge wrong") > 0
        assert each.count("<mark>") == 2
    assert "are shown of" in section(html, "differ")


def test_a_comparison_of_one_contestant_or_of_nothing_is_still_a_page():
    alone = comparison(contestants=(facts(SMALL),), rows=(row("needle", "en", "", True, score(SMALL, 0.3)),), pairs=(),
                       speeds=(), resources=(), limits=None, connections=None)  # fmt: skip
    assert "nothing is compared" in section(written(material(alone)), "found")
    empty = comparison(rows=(), pairs=(), speeds=(), resources=(), limits=None, connections=None)
    assert read(written(material(empty))).faults == []


def test_without_matplotlib_the_command_that_installs_it_is_said(monkeypatch):
    from ouvert.evaluation import EvaluationError

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EvaluationError, match=r"-m pip install matplotlib"):
        written(material())


def test_the_suites_trivial_strategies_have_words_in_both_languages():
    from ouvert.evaluation import cards, open_suite
    from ouvert.evaluation.wording import catalogue

    known = 0
    for name in cards():
        if cards()[name].kind != "generated":
            continue
        suite = open_suite(name)
        for guess in suite.guesses(suite.items(suite.card.languages[0], 12, 1)):
            a_letter = guess.removeprefix("always ") in "ABCD"
            named = f"guess.{guess}" in catalogue("report", "en").keys() & catalogue("report", "fr").keys()
            assert named or a_letter, f"{name}: {guess!r} has no words under [guess] in texts/report.*.toml"
            known += 1
    assert known > 5


def test_damage_says_how_much_more_of_it_there_is_in_the_other_language(html):
    damage = section(html, "damage")
    assert "the divergence in French is 1.66 times that in English [1.50;\u00a01.80]" in damage
    assert "la divergence en français vaut 1,66 fois celle en anglais" in damage


def test_who_could_not_be_asked_is_neither_at_a_floor_nor_compared():
    unasked = score(SMALL, 0.0, refused=100)
    values = comparison(rows=(row("tools", "en", "free", True, unasked, score(LARGE, 0.7)),), pairs=(), limits=None)
    html = written(material(values))
    assert "could not be asked any of it" in section(html, "found")
    line = next(each for each in re.findall("<tr.*?</tr>", section(html, "scores"), re.DOTALL) if SMALL in each)
    assert "could not be asked" in line
    assert ">floor<" not in line
    assert "is at a floor in" not in section(html, "scores")


def test_texts_that_are_read_have_bits_and_no_answers():
    values = everything(rows=(*comparison().rows, row("reading", "fr", "text", True)))
    html = written(material(values))
    assert "reading" in section(html, "bits")
    assert read(html).faults == []


def test_a_mark_in_a_chart_says_that_its_contestant_leaves_the_machine():
    speeds = (Speed(contestant=AWAY, n=9, whole=2.0, per_right=2.5),)
    values = comparison(contestants=(facts(SMALL), facts(AWAY, "remote")), pairs=(), resources=(), speeds=speeds,
                        rows=(row("ladder", "en", "", True, score(SMALL, 0.2), score(AWAY, 0.9)),))  # fmt: skip
    chart = re.search("<svg.*?</svg>", section(written(material(values)), "cost"), re.DOTALL)[0]
    assert f"{AWAY} (leaves the machine)" in chart
    assert f"{AWAY} (quitte la machine)" in chart
