"""What LICENCES.md of a comparison is written from."""

from importlib.metadata import distribution
from pathlib import Path

import pytest

from ouvert.evaluation import EvaluationError, cards
from ouvert.evaluation.suites.licences import COPYRIGHTS, licences_of


def test_every_suite_under_the_mit_licence_has_its_notice_and_no_other():
    entries = {entry.suite: entry for entry in licences_of(cards())}
    assert set(entries) == set(cards())
    for name, entry in entries.items():
        assert entry.licence
        assert entry.source
        assert bool(entry.notice) == (entry.licence == "MIT") == (name in COPYRIGHTS), name


@pytest.mark.parametrize("suite", ["mmlu", "gsm8k"])
def test_the_notice_is_the_one_that_lies_beside_the_questions(suite):
    theirs = Path(str(distribution("frugal-llm").locate_file("frugal_llm/tasks/NOTICE.md"))).read_text()
    (entry,) = licences_of([suite])
    assert " ".join(entry.notice.split()) in " ".join(theirs.split())


def test_a_suite_is_listed_once_and_one_that_there_is_not_is_refused():
    assert [entry.suite for entry in licences_of(["mmlu", "gsm8k", "mmlu"])] == ["gsm8k", "mmlu"]
    with pytest.raises(EvaluationError, match="nothing-such"):
        licences_of(["nothing-such"])
