"""`ouvert lesson DIR`."""

import json

import pytest
from tests.evaluation.made_up import made_up_comparison, made_up_suites

from ouvert.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    made_up_suites(monkeypatch)
    made_up_comparison(tmp_path / "run").close()
    return tmp_path / "run"


def test_lessons_that_can_be_filled_are_written_and_the_others_named(folder, capsys):
    assert main(["lesson", str(folder), "--lang", "fr", "--level", "équipe"]) == 0
    out, said = capsys.readouterr()
    assert str(folder / "lessons" / "1-luck.fr.team.html") in out
    assert "La leçon 4 n’a pas été écrite" in said
    assert "--damage" in said


def test_what_was_written_and_what_is_missing_is_told_as_json(folder, capsys):
    assert main(["lesson", str(folder), "--lang", "en", "--lesson", "3", "--lesson", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["pages"]) == ["3"]
    assert list(told["missing"]) == ["5"]


def test_a_run_that_can_fill_none_ends_with_one(folder):
    assert main(["lesson", str(folder), "--lesson", "5"]) == 1


def test_a_folder_that_is_no_comparison_is_one_sentence(tmp_path, capsys):
    assert main(["lesson", str(tmp_path)]) == 1
    assert "plan.toml" in capsys.readouterr().err
