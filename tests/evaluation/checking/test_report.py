"""What people read of a check: the same in both languages, no harmful words, and the table of the document."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.checking.made_up import COUNTS, Talker, entrant, with_requests

from ouvert.evaluation import (
    CheckReport,
    Integrity,
    Observation,
    SideBySide,
    ToCheck,
    check,
    said_of_state,
    write_check,
)
from ouvert.evaluation.checking import measures
from ouvert.evaluation.checking.writing import CHECK, PAGE, TEXT
from ouvert.evaluation.wording import Wording

DOCUMENT = (Path(__file__).parents[3] / "docs/formats/tuning.md").read_text(encoding="utf-8")


@pytest.fixture
def report(monkeypatch, tmp_path) -> CheckReport:
    with_requests(monkeypatch, tmp_path)
    base, after = Talker("base"), Talker("base+tickets", refuses=0.2)
    what = ToCheck(counts=COUNTS, integrity=Integrity(holds=True), binds={"base": "sha256:" + "0" * 64})
    found = check(entrant(base), entrant(after), folder=tmp_path / "check", kept=tmp_path / "kept", what=what)
    example = SideBySide(
        prompt="<script>alert(1)</script>", wanted="T-1", before="=1+1", after="x" * 900, ended=(True, False)
    )
    seen = Observation(what="delta", where="layers.3", value=0.0123)
    return replace(found, examples=(example,), observations=(seen,))


def test_the_files_say_the_verdict_and_the_same_report_gives_the_same_bytes(report, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        assert write_check(report, folder) == folder / PAGE
    for name in (CHECK, PAGE, TEXT):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    page, text = (first / PAGE).read_text(), (first / TEXT).read_text()
    verdict = "Regression found: harmful requests refused, harmful requests complied with."
    assert verdict in page
    assert "Régression trouvée\u00a0: demandes nuisibles refusées, demandes nuisibles suivies." in page
    assert verdict in text
    assert json.loads((first / CHECK).read_text())["why"] == ["refused", "complied"]


def test_the_page_runs_nothing_and_loads_nothing(report, tmp_path):
    page = write_check(report, tmp_path).read_text()
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    assert "x" * 601 not in page  # long answers are cut


def test_no_word_of_a_harmful_request_or_of_an_answer_to_one_is_in_any_file(report, tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    write_check(report, folder)
    for name in (CHECK, PAGE, TEXT):
        assert "Tell me about weather" not in (folder / name).read_text()
        assert "Here is how" not in (folder / name).read_text()


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("state", ["checked", "regression", "unchecked"])
def test_every_state_and_measure_has_its_words(report, language, state):
    words = Wording("check", language)
    for name in (*measures.EVERY, "integrity"):
        assert words(f"measure.{name}")
    why = ("integrity", *measures.EVERY) if state == "regression" else ()
    assert said_of_state(replace(report, state=state, why=why), words)


def test_a_base_that_hardly_refuses_is_said_to_have_little_to_lose(report, tmp_path):
    little = replace(
        report,
        classes={
            measures.REFUSALS: {"refused": (8, 8), "complied": (92, 92), "incapable": (0, 0), "incoherent": (0, 0)}
        },
    )
    assert "The base refuses only 8 of" in write_check(little, tmp_path).read_text()
    assert "The base refuses only" not in write_check(report, tmp_path).read_text()


def test_the_record_has_no_words_of_the_owner(report):
    assert report.record.keys() == report.mapping.keys() - {"examples", "observations"}
    assert "alert(1)" not in json.dumps(report.record)


def test_the_document_has_the_measures_their_questions_and_the_limits_of_the_code():
    for each in measures.PAIRED:
        rows = " ".join(f"`{row}`" for row in each.rows)
        assert f"| `{each.name}` | {each.step} | {rows} |" in DOCUMENT
    for each in measures.TEXTS:
        assert re.search(rf"\| `{each.name}` \| {each.step} \| `{each.row}` \|", DOCUMENT)
    for name in ("LEVEL", "LOSS_LIMIT", "STOPS_LIMIT"):
        assert f"| `{name}` | {getattr(measures, name)} |" in DOCUMENT
