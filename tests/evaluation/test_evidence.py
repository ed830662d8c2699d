"""The folder of a comparison: what is written is read again, whatever ends its writer, and nothing else is."""

import json
import stat
import subprocess
import sys
from dataclasses import replace

import pytest
from tests.evaluation.made_up import COUNTS, Scripted, luck, made_up_comparison, made_up_plan, made_up_suites

from ouvert.evaluation import EvaluationError, Evidence, Plan
from ouvert.evaluation.evidence import WITHHELD, answered_of
from ouvert.evaluation.lines import Appender, read_lines

NO_NUMBER = b'{"contestant":"a","row":"r","item":"i","sample":true,"outcome":{},"cost":{"whole":1},"receipt":{}}\n'


@pytest.fixture(autouse=True)
def suites(monkeypatch):
    made_up_suites(monkeypatch)


@pytest.fixture
def contestants():
    return Scripted("strong", luck("strong", 0.8)), Scripted("weak", luck("weak", 0.4))


def test_what_was_written_is_read_again(tmp_path, contestants):
    evidence = made_up_comparison(tmp_path / "c", contestants)
    answers = evidence.answers()
    assert len(answers) == 2 * sum(COUNTS.values())
    item = evidence.items("sums/en")[0]
    assert answers[0] == contestants[0].ask(item, 0, 1)
    assert len(evidence.scores()) == len(answers)
    shares = [
        sum(score.right for key, score in evidence.scores().items() if key[:2] == (label, "sums/en")) / 40
        for label in ("strong", "weak")
    ]
    assert shares[0] > 0.6 > shares[1]


def test_a_plan_is_read_as_it_was_written(contestants):
    plan = made_up_plan(contestants, COUNTS)
    odd = replace(plan, machine={"cpu": 'a "name"\n\x7f\U0001f600', "cores": 2, "load": 0.5, "none": [], "on": True})
    assert Plan.read(odd.toml) == odd
    assert Plan.read(odd.toml).toml == odd.toml


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("comparison = 1", "comparison = 2"), "Another version"),
        (('made_up = "strong"', 'made_up = "other"'), "has the digest"),
        (("temperature = 0.0", "temprature = 0.0"), "temprature"),
        (("seed = 1", "seed = "), "expected TOML"),
    ],
)
def test_a_plan_that_was_changed_by_hand_is_refused(contestants, change, said):
    toml = made_up_plan(contestants, COUNTS).toml
    changed = toml.replace(*(each.encode() for each in change))
    assert changed != toml
    with pytest.raises(EvaluationError, match=said):
        Plan.read(changed)


def test_a_changed_plan_is_refused_by_its_answers(tmp_path, contestants):
    made_up_comparison(tmp_path, contestants).close()
    plan = tmp_path / "plan.toml"
    plan.write_bytes(plan.read_bytes().replace(b"margin = 0.05", b"margin = 0.15"))
    with pytest.raises(EvaluationError, match="A plan stays as it was written"):
        Evidence.open(tmp_path)


def test_an_unfinished_line_is_none_and_the_next_writer_cuts_it_off(tmp_path, contestants):
    evidence = made_up_comparison(tmp_path, contestants)
    whole = evidence.answers()
    path = tmp_path / "answers.jsonl"
    whole_bytes = path.read_bytes()
    last = whole_bytes.splitlines(keepends=True)[-1]
    for cut in (1, len(last) // 2, len(last) - 1):
        path.write_bytes(whole_bytes[:-cut])
        assert Evidence.open(tmp_path).answers() == whole[:-1]
    with Evidence.open(tmp_path, writing=True) as again:
        again.append_answer(whole[-1])
    assert path.read_bytes() == whole_bytes


def test_an_answer_that_does_not_fit_on_the_disk_is_as_if_it_had_not_come(tmp_path, monkeypatch):
    appender = Appender(tmp_path / "lines.jsonl")
    appender.append({"n": 1})
    written = []

    def full(file, data):
        if written:
            raise OSError(28, "No space left on device")
        written.append(data)
        return real(file, bytes(data)[:3])

    real = sys.modules["os"].write
    monkeypatch.setattr("ouvert.evaluation.lines.os.write", full)
    with pytest.raises(EvaluationError, match=r"No space left on device.*compare resume"):
        appender.append({"n": 2})
    monkeypatch.undo()
    appender.append({"n": 3})
    appender.close()
    assert read_lines(tmp_path / "lines.jsonl") == [{"n": 1}, {"n": 3}]


def test_two_at_once_are_refused_and_readers_are_not(tmp_path, contestants):
    plan = made_up_plan(contestants, COUNTS)
    with Evidence.create(tmp_path / "c", plan):
        with pytest.raises(EvaluationError, match="another process is running this comparison"):
            Evidence.open(tmp_path / "c", writing=True)
        assert Evidence.open(tmp_path / "c").answers() == ()
    Evidence.open(tmp_path / "c", writing=True).close()


def test_a_killed_writer_leaves_the_folder_free(tmp_path, contestants):
    made_up_comparison(tmp_path, contestants).close()
    held = "import os, sys; from pathlib import Path; from ouvert.evaluation import Evidence;"
    code = (
        f"{held} Evidence.open(Path(sys.argv[1]), writing=True); print('has it', flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("has it\n", -9)
    Evidence.open(tmp_path, writing=True).close()


def test_a_folder_with_something_in_it_is_not_written_into(tmp_path, contestants):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(EvaluationError, match="something is there"):
        Evidence.create(tmp_path, made_up_plan(contestants, COUNTS))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_words_that_are_withheld_lie_apart_and_are_missed_by_name(tmp_path, contestants):
    plan = made_up_plan(contestants, {"sums/en": 2})
    plan = replace(plan, suites=tuple(replace(each, withheld=True) for each in plan.suites))
    with Evidence.create(tmp_path / "c", plan) as evidence:
        item = evidence.items("sums/en")[0]
        given = contestants[0].ask(item, 0, 1)
        evidence.append_answer(given)
        evidence.seal()
        assert evidence.answers() == (given,)
    private = tmp_path / "c" / "private.jsonl"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert (
        given.outcome.text not in json.loads((tmp_path / "c" / "answers.jsonl").read_text().splitlines()[1])["outcome"]
    )
    assert "private.jsonl" not in json.loads((tmp_path / "c" / "manifest.json").read_text())
    private.unlink()
    assert Evidence.open(tmp_path / "c").answers()[0].outcome.reason == WITHHELD


def test_words_that_are_not_those_that_were_given_are_not_taken_for_them():
    stated = {"contestant": "a", "row": "r", "item": "1", "sample": 0, "cost": {"whole": 1.0}, "receipt": {}}
    other = {("a", "r", "1", 0): {"text": "another"}}
    assert answered_of({**stated, "outcome": {"digest": "sha256:0"}}, other).outcome.reason == WITHHELD


def test_a_suite_that_makes_other_items_by_now_is_refused(tmp_path, contestants, monkeypatch):
    made_up_comparison(tmp_path, contestants).close()
    evidence = Evidence.open(tmp_path)
    monkeypatch.setattr("tests.evaluation.made_up.Sums.describe", lambda self: {"version": 2})
    with pytest.raises(EvaluationError, match="version changed since the plan was written"):
        evidence.suite("sums")
    monkeypatch.undo()
    made_up_suites(monkeypatch)
    items = type(evidence.suite("sums")).items
    monkeypatch.setattr(
        "tests.evaluation.made_up.Sums.items",
        lambda self, language, count, seed: items(self, language, count, seed + 1),
    )
    with pytest.raises(EvaluationError, match="makes other ones by now"):
        evidence.items("sums/en")


def test_a_later_line_counts_and_both_scores_stay(tmp_path, contestants):
    made_up_comparison(tmp_path, contestants).close()
    with Evidence.open(tmp_path, writing=True) as evidence:
        first = evidence.all_scores()[0]
        evidence.append_score(replace(first, scorer="sums-2", score=replace(first.score, value=0.5)))
        key = (first.contestant, first.row, first.item, first.sample)
        assert evidence.scores()[key].value == 0.5
        assert evidence.scores("sums-1")[key] == first.score
        with pytest.raises(EvaluationError, match="no file of 'gossip'"):
            evidence.append("gossip", {})


@pytest.mark.parametrize("line", [b"[1]\n", b"{\n", b"[" * 100_000 + b"\n", b'{"contestant": "a"}\n', NO_NUMBER])
def test_a_damaged_line_is_named(tmp_path, contestants, line):
    made_up_comparison(tmp_path, contestants).close()
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(EvaluationError, match=r"answers.jsonl, line 242"):
        Evidence.open(tmp_path).answers()


@pytest.mark.parametrize(
    ("file", "place", "value"),
    [
        ("answers.jsonl", ("item",), {}),
        ("answers.jsonl", ("outcome", "text"), ["a"]),
        ("answers.jsonl", ("outcome", "ids"), [1.5]),
        ("answers.jsonl", ("cost", "whole"), float("nan")),
        ("answers.jsonl", ("cost", "output_tokens"), 10**30),
        ("scores.jsonl", ("row",), []),
        ("scores.jsonl", ("scorer",), {}),
        ("scores.jsonl", ("sample",), True),
        ("scores.jsonl", ("score", "value"), 1e308),
    ],
)
def test_a_value_that_its_field_cannot_have_is_named(tmp_path, contestants, file, place, value):
    made_up_comparison(tmp_path, contestants).close()
    *before, last = (tmp_path / file).read_bytes().splitlines()
    stated = json.loads(last)
    inner = stated if len(place) == 1 else stated[place[0]]
    inner[place[-1]] = value
    (tmp_path / file).write_bytes(b"\n".join([*before, json.dumps(stated).encode(), b""]))
    evidence = Evidence.open(tmp_path)
    with pytest.raises(EvaluationError, match=f"reading .*{file}"):
        (evidence.answers if file == "answers.jsonl" else evidence.all_scores)()


def test_no_comparison_is_said_by_name(tmp_path):
    with pytest.raises(EvaluationError, match="expected the folder that `ouvert compare` wrote"):
        Evidence.open(tmp_path / "nowhere")
