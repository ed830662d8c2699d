"""The suite `reasoning-gym`: which tasks, how answers are compared, and that the same riddles come again."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ouvert.evaluation import EvaluationError, Outcome, open_suite
from ouvert.evaluation.suites import riddles
from ouvert.evaluation.suites.riddles import score_riddle, tasks

DIGEST = "3581366bc6ed"  # over the ids, questions and answers of the first 40 items of seed 0
MAKE = """
import sys
import ouvert
from hashlib import sha256
guard = ouvert.guard()
from ouvert.evaluation import open_suite
suite = open_suite("reasoning-gym")
items = suite.items("en", 40, 0)
assert [attempt for attempt in guard.attempts if attempt.kind != "program"] == []
said = [item.id + item.ask.messages[0]["content"] + item.expected["answer"] for item in items]
print(sha256("".join(said).encode()).hexdigest()[:12])
"""


@pytest.fixture(scope="module")
def items():
    return open_suite("reasoning-gym").items("en", 80, 0)


def test_every_task_of_the_package_is_asked_or_left_out_with_a_reason():
    from reasoning_gym.factory import DATASETS

    stated = tomllib.loads((Path(riddles.__file__).parent / "tasks.toml").read_text(encoding="utf-8"))
    left_out = [task for table in stated["left_out"].values() for task in table["tasks"]]
    assert sorted([*left_out, *tasks()]) == sorted(DATASETS)


def test_tasks_take_turns_and_the_right_answer_counts(items):
    suite = open_suite("reasoning-gym")
    assert {item.group for item in items[:39]} == set(tasks())
    for item in items:
        assert suite.score(item, Outcome(text=f"Let me think.\nAnswer: {item.expected['answer']}")).right, item.id
        assert not suite.score(item, Outcome(text="")).right
        assert not suite.score(item, Outcome(text=f"Not {item.expected['answer']}, but {item.id}")).right, item.id


def test_another_process_makes_the_same_riddles_and_opens_no_connection():
    ran = subprocess.run(
        [sys.executable, "-c", MAKE],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONHASHSEED": "1"},
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split()[0] == DIGEST


def test_fewer_items_begin_more(items):
    assert open_suite("reasoning-gym").items("en", 30, 0) == items[:30]
    assert open_suite("reasoning-gym").items("en", 0, 0) == ()


@pytest.mark.parametrize(
    ("expected", "right", "wrong"),
    [
        ({"kind": "number", "answer": "13"}, ["13", "Answer: 13", "k = 13"], ["", "113", "13 or 14", "thirteen"]),
        (
            {"kind": "word", "answer": "Yes", "of": ["Yes", "No"]},
            ["Yes", "yes.", "Answer: Yes"],
            ["", "Yes and no", "No", "Maybe", "Not yes", "Answer: No. Yes."],
        ),
        ({"kind": "text", "answer": "#A B#"}, ["#A B#", "Answer: #A  B#", "`#A B#`"], ["", "#A B# #A", "it is #A B#"]),
    ],
)
def test_answers_are_compared_strictly(expected, right, wrong):
    assert [text for text in right if not score_riddle(expected, Outcome(text=text)).right] == []
    assert [text for text in wrong if score_riddle(expected, Outcome(text=text)).right] == []


@given(st.text(max_size=60), st.sampled_from(["number", "word", "text"]))
def test_scoring_raises_nothing(text, kind):
    for said in (text, "Answer: " + text):
        score_riddle({"kind": kind, "answer": "1", "of": ["a", "b"]}, Outcome(text=said))


def test_the_baseline_stands_beside_the_score(items):
    suite = open_suite("reasoning-gym")
    got = {
        name: sum(suite.score(item, guess(item)).value for item in items) / len(items)
        for name, guess in suite.guesses(items).items()
    }
    assert got["copies the question"] == 0
    assert 0 < got["the commonest answer of each task"] < 0.7


def test_files_that_were_changed_are_refused(monkeypatch, tmp_path):
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(riddles, "package_file", lambda *_: tmp_path / "__init__.py")
    riddles.check_package.cache_clear()
    try:
        with pytest.raises(EvaluationError, match="digest of its files"):
            open_suite("reasoning-gym").items("en", 1, 0)
    finally:
        riddles.check_package.cache_clear()


def test_a_language_that_it_lacks_is_refused():
    with pytest.raises(EvaluationError, match="'fr'"):
        open_suite("reasoning-gym").items("fr", 1, 0)
