"""What a folder of evidence becomes: report.html, .md, .ipynb, data.csv, LICENCES.md, and a manifest over them."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import jsonschema
import pytest
from tests.evaluation.made_up import Scripted, luck, made_up_comparison, made_up_suites
from tests.evaluation.report.made_up import HOSTILE, LARGE, SMALL, comparison, facts, material
from tests.evaluation.report.notebook_format import NOTEBOOK

from ouvert.evaluation import Answered, Cost, Outcome, Score, analyse, report
from ouvert.evaluation.report.data import csv_of
from ouvert.evaluation.report.gather import gather
from ouvert.evaluation.report.write import files

FILES = ("report.html", "report.md", "report.ipynb", "data.csv", "LICENCES.md")


@pytest.fixture(scope="module")
def made():
    return files(material(), "en")


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    made_up_suites(monkeypatch)
    gather = import_module("ouvert.evaluation.report.gather")
    monkeypatch.setattr(gather, "licences_of", lambda names: ())  # the suites made up have no cards
    contestants = Scripted("strong", luck("strong", 0.9)), Scripted("weak", luck("weak", 0.3))
    return made_up_comparison(tmp_path / "c", contestants)


def test_a_folder_gets_every_file_and_a_manifest_over_them(evidence):
    assert report(evidence, language="fr") == evidence.folder / "report.html"
    manifest = json.loads((evidence.folder / "manifest.json").read_bytes())
    for name in FILES:
        written = (evidence.folder / name).read_bytes()
        assert manifest[name] == "sha256:" + hashlib.sha256(written).hexdigest()
    page = (evidence.folder / "report.html").read_text(encoding="utf-8")
    assert "strong" in page
    assert evidence.plan_digest in page
    assert (evidence.folder / "report.md").read_text(encoding="utf-8").startswith("# Comparaison")


def test_a_model_that_was_named_by_its_file_is_shown_without_its_folders(tmp_path, monkeypatch):
    made_up_suites(monkeypatch)
    monkeypatch.setattr(import_module("ouvert.evaluation.report.gather"), "licences_of", lambda names: ())
    label = "/home/somebody/models/strong.gguf"
    contestants = Scripted(label, luck("strong", 0.9)), Scripted("weak", luck("weak", 0.3))
    folder = made_up_comparison(tmp_path / "c", contestants)
    report(folder)
    for name in ("report.html", "report.md", "report.ipynb"):
        text = (folder.folder / name).read_text(encoding="utf-8")
        assert "strong.gguf" in text
        assert "somebody" not in text


def test_words_that_stay_with_their_owner_are_in_no_file_though_the_folder_has_them(evidence, monkeypatch):
    """The folder's plan says that "sums" is withheld; its answers lie here all the same, as they do for its owner."""
    suites = tuple(replace(each, withheld=each.name == "sums") for each in evidence.plan.suites)
    monkeypatch.setattr(evidence, "plan", replace(evidence.plan, suites=suites))
    made = gather(evidence, analyse(evidence))
    assert "sums/en" not in made.items
    assert not [key for key in made.given if key[1] == "sums/en"]
    written = files(made, "en")
    for name, text in written.items():
        assert not re.search(r"What is \d \+ \d|Add \d and \d", text), name
    assert "Question 1" in written["report.html"]  # of the suite that is not withheld
    assert "stay with their owner" in written["report.html"]


def test_the_same_folder_gives_the_same_bytes(evidence):
    report(evidence)
    first = {name: (evidence.folder / name).read_bytes() for name in (*FILES, "manifest.json")}
    report(evidence, comparison=analyse(evidence))
    assert {name: (evidence.folder / name).read_bytes() for name in first} == first


def test_words_that_are_withheld_are_in_no_file(made):
    for name, text in made.items():
        assert "mine-0" not in text, name


def test_the_short_report_says_the_sentences_and_links_into_the_page(made):
    short = made["report.md"]
    assert short.count("](report.html#") > 5
    anchors = set(re.findall(r"report\.html#([\w-]+)", short))
    assert anchors <= set(re.findall(r'id="([\w-]+)"', made["report.html"]))
    assert "+45 points \\[35;\u00a055\\]" in short
    assert "│" not in short
    assert "─●─" in short
    assert len(short) < 60_000


def test_the_short_report_has_a_language_of_its_own():
    french = files(material(comparison()), "fr")["report.md"]
    assert "est meilleur que" in french
    assert "is better than" not in french


def test_hostile_text_stays_text_in_markdown(made):
    short = made["report.md"]
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", short, flags=re.DOTALL | re.MULTILINE)
    for active in ("<script", "](javascript:", "<img", "](https:"):
        assert active not in outside
    name = "a|b](https://example.com) <b> `x` @somebody"
    values = comparison(contestants=(facts(name), facts(LARGE)), rows=(), pairs=(), speeds=(), resources=())
    named = files(material(values), "en")["report.md"]
    title = named.splitlines()[0]
    assert r"a\|b\](https://example.com) \<b\> \`x\` @somebody" in title
    assert "`` ● a" not in named


def test_an_answer_cannot_end_the_fence_that_it_stands_in():
    from ouvert.evaluation.report.markdown import code, fenced

    text = "```\n# out\n````\n"
    assert fenced(text).splitlines()[0] == "`````text"
    assert code("a ` b") == "`` a ` b ``"


def answered(text):
    return Answered(contestant=text, row="ladder/en", item=text, sample=0, outcome=Outcome(text=text, reason=text),
                    cost=Cost(whole=1.5), receipt={})  # fmt: skip


@pytest.mark.parametrize("text", [*HOSTILE, "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", 'a,b\n"c'])
def test_a_spreadsheet_computes_nothing_of_what_was_said(text):
    values = [(answered(text), Score(value=-0.5, right=False, note=text))]
    lines = list(csv.reader(csv_of(material(answered=values)).splitlines()))
    assert len(lines) == 2
    line = dict(zip(*lines, strict=True))
    for column in ("item", "contestant", "note", "reason"):
        assert not line[column].startswith(("=", "+", "-", "@", "\t", "\r"))
    assert line["value"] == "-0.5"
    assert line["right"] == "0"


def test_the_notebook_has_the_form_that_jupyter_reads(made):
    notebook = json.loads(made["report.ipynb"])
    jsonschema.validate(notebook, NOTEBOOK)
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(names) == len(set(names))


def test_the_notebooks_cells_compute_the_same_again(tmp_path, evidence):
    """In a process of its own, as a pupil would run it: with NumPy and matplotlib, and nothing of Ouvert."""
    report(evidence)
    notebook = json.loads((evidence.folder / "report.ipynb").read_bytes())
    source = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    source += "\nimport sys\nfigure.savefig('plot.png')\nassert 'ouvert' not in sys.modules"
    source += "\nprint('FOUND', json.dumps([RECOMPUTED, ADJUSTED]))\n"
    (tmp_path / "cells.py").write_text(source, encoding="utf-8")
    environment = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, "-W", "ignore", "cells.py"], cwd=tmp_path, env=environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    recomputed, adjusted = json.loads(done.stdout.split("FOUND ")[1])
    tested = [pair for pair in analyse(evidence).pairs if pair.p is not None]
    assert len(tested) >= 3
    assert [pair.n for pair in tested]
    assert recomputed == pytest.approx([pair.p for pair in tested], rel=1e-4, abs=1e-9)
    primaries = [pair.p_adjusted for pair in tested if pair.p_adjusted is not None]
    assert adjusted == pytest.approx(primaries, rel=1e-4, abs=1e-9)
    assert any(pair.design_effect > 1 for pair in tested)
    assert (tmp_path / "plot.png").stat().st_size > 5_000


def test_licences_stand_with_their_notices():
    from ouvert.evaluation.suites.licences import licences_of

    text = files(material(comparison(), licences=licences_of(["mmlu", "ladder"])), "en")["LICENCES.md"]
    assert "Copyright (c) 2020 Dan Hendrycks" in text
    assert "Permission is hereby granted" in text
    assert SMALL in text
    assert "apache-2.0" in text
