"""`ouvert compare`: from two names to a folder, resumed, scored, run again; bad words end in sentences."""

import json
import re
import sys

import pytest
from tests.evaluation.made_up import made_up_suites, still_machine

from ouvert.cli import main
from ouvert.cli.commands.compare import say_whether_charts_can_be_drawn
from ouvert.evaluation import Evidence


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(sys.modules["ouvert.evaluation.run"], "Machine", still_machine)
    monkeypatch.setenv("OUVERT_GUARD", "off")  # the guard stays with a process once it is up


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))


def run(capsys, *words):
    status = main(["compare", *map(str, words)])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def made_up(monkeypatch):
    made_up_suites(monkeypatch)


def test_from_names_to_a_folder_that_runs_again_to_the_same_bits(home, smollm2, tmp_path, capsys):
    folder, again = tmp_path / "c", tmp_path / "again"
    status, out, err = run(capsys, smollm2, smollm2, "--suites", "ladder", "--time", "1s", "--out", folder, "--json")
    assert status == 0, err
    found = json.loads(out)
    labels = [each["label"] for each in found["comparison"]["contestants"]]
    assert labels == [smollm2.name, f"{smollm2.name}#2"]
    assert found["page"] == str(folder / "report.html")
    assert "ladder/en" in err
    answers = len(Evidence.open(folder).answers())
    assert answers == 2 * 8

    assert run(capsys, "resume", folder)[0] == 0
    assert len((folder / "answers.jsonl").read_text().splitlines()) == answers + 1
    assert run(capsys, "score", folder)[:2] == (0, "0 answers were scored anew, and nothing was asked.\n")
    page = (folder / "report.html").read_bytes()
    assert run(capsys, "report", folder)[0] == 0
    assert (folder / "report.html").read_bytes() == page

    status, out, _ = run(capsys, "rerun", folder, "--out", again)
    assert status == 0
    assert out.startswith(f"{answers} answers are the same, bit for bit; 0 are not")

    path = folder / "answers.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    line = json.loads(lines[3])
    line["outcome"]["text"] += " or not"
    path.write_text("".join([*lines[:3], json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n", *lines[4:]]))
    again = tmp_path / "third"
    status, out, _ = run(capsys, "rerun", folder, "--out", again)
    assert status == 1
    assert line["item"] in out
    assert "or not" in out


def test_a_plan_asks_nothing_and_makes_no_folder(home, made_up, smollm2, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(capsys, smollm2, "--suites", "sums,choices", "--time", "1m", "--plan", "--json")
    assert status == 0
    plan = json.loads(out)
    assert [row["row"] for row in plan["rows"]] == ["sums/en", "choices/en/letter", "choices/en/likelihood"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("comparison")] == []
    status, out, _ = run(capsys, smollm2, "--suites", "sums", "--plan")
    assert "SHOWS FROM" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody-at-all", "--suites", "sums"), "there is no model called"),
        (("{model}", "--for", "cooking"), "--for has 'cooking'"),
        (("{model}", "--suites", "cooking"), "there is none of that name"),
        (("{model}:low", "--suites", "sums"), "no such file|has no efforts"),
        (("{model}", "--suites", "sums", "--lang", "de"), "--lang has 'de'"),
        (("{model}", "--suites", "sums", "--tariff", "cheap"), "--tariff: 'cheap'"),
        (("resume", "/nowhere"), "expected the folder that `ouvert compare` wrote"),
    ],
)
def test_what_makes_no_sense_ends_in_a_sentence(home, made_up, smollm2, capsys, words, said):
    status, _, err = run(capsys, *(word.replace("{model}", str(smollm2)) for word in words))
    assert status == 1
    assert re.search(said, err), err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("m", "--time", "soon"), "such as 90s, 30m or 1h30m"),
        (("m", "--for", ","), "a list of different words"),
        (("m", "--samples", "0"), "a whole number from 1 to 100"),
    ],
)
def test_wrong_words_are_wrong_use(capsys, words, said):
    with pytest.raises(SystemExit) as left:
        run(capsys, *words)
    assert left.value.code == 2
    assert said in capsys.readouterr().err


def test_an_action_takes_one_folder(capsys):
    status, _, err = run(capsys, "resume", "a", "b")
    assert status == 2
    assert "compare resume takes one folder" in err


def test_that_a_report_needs_matplotlib_is_said_before_anything_is_asked(monkeypatch, capsys):
    say_whether_charts_can_be_drawn()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    say_whether_charts_can_be_drawn()
    assert "-m pip install matplotlib" in capsys.readouterr().err
