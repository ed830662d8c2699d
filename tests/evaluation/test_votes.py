"""votes.jsonl: added by many at once, whole or not at all, and read whatever stands in it."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from ouvert.evaluation import EvaluationError, Vote, VoteFile
from ouvert.evaluation.votes import LONGEST_LINE


def vote(**changes):
    fields = {
        "prompt": "sha256:p", "shown": ("a", "b"), "answers": ("sha256:x", "sha256:y"), "verdict": "first",
        "seconds": 2.5,
    }  # fmt: skip
    return Vote(**(fields | changes))


def test_votes_come_back_as_they_were_given_in_another_process_too(tmp_path):
    given = [vote(voter="Zoé", reason="plus court"), vote(verdict="both_bad"), vote(row="ladder/en", item="7")]
    file = VoteFile(tmp_path)
    assert all(file.add(each) for each in given)
    assert list(file.votes()) == given == list(VoteFile(tmp_path).votes())
    line = (tmp_path / "votes.jsonl").read_bytes().splitlines()[0]
    assert line.isascii()
    assert json.loads(line)["voter"] == "Zoé"
    assert os.stat(tmp_path / "votes.jsonl").st_mode & 0o777 == 0o600


def test_the_best_is_the_one_that_was_shown_there():
    assert [vote(verdict=each).best for each in ("first", "second", "tie", "both_bad")] == ["a", "b", None, None]


def test_a_voter_with_a_label_has_one_vote_on_a_prompt_and_nobody_else_loses_one(tmp_path):
    file, other = VoteFile(tmp_path), VoteFile(tmp_path)
    assert file.add(vote(voter="Ada"))
    assert not other.add(vote(voter="Ada", verdict="second", shown=("b", "a")))
    assert other.add(vote(voter="Ada", prompt="sha256:q"))
    assert all(file.add(vote()) for _ in range(2))
    assert len(file.votes()) == 4


def test_thirty_voters_at_once_lose_no_vote(tmp_path):
    files = [VoteFile(tmp_path) for _ in range(3)]
    voters = [
        threading.Thread(target=lambda n=n: [files[n % 3].add(vote(voter=f"v{n}", prompt=f"p{k}")) for k in range(4)])
        for n in range(30)
    ]
    for each in voters:
        each.start()
    for each in voters:
        each.join()
    assert {(each.voter, each.prompt) for each in VoteFile(tmp_path).votes()} == {
        (f"v{n}", f"p{k}") for n in range(30) for k in range(4)
    }
    assert len((tmp_path / "votes.jsonl").read_bytes().splitlines()) == 120


def test_a_vote_survives_the_death_of_its_process_and_half_a_line_spoils_no_other(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from ouvert.evaluation import Vote, VoteFile\n"
        "import ouvert.evaluation.votes as votes\n"
        "v = Vote(prompt='sha256:p', shown=('a', 'b'), answers=('x', 'y'), verdict='tie', seconds=1)\n"
        "file = VoteFile(Path(sys.argv[1])); file.add(v); real = os.write\n"
        "def half(f, data): real(f, data[:40]); os.kill(os.getpid(), 9)\n"
        "os.write = half; file.add(v)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60)
    assert ended.returncode == -signal.SIGKILL
    file = VoteFile(tmp_path)
    assert len(file.votes()) == 1
    assert file.add(vote())
    assert [each.verdict for each in VoteFile(tmp_path).votes()] == ["tie", "first"]
    assert file.damaged == 1


def test_a_disk_that_is_full_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = VoteFile(tmp_path)
    file.add(vote())
    before, real = (tmp_path / "votes.jsonl").read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda f, data: real(f, data[:20]))
    with pytest.raises(EvaluationError, match="not kept; those before it are"):
        file.add(vote())
    assert (tmp_path / "votes.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"{}", b"[" * 20_000, b"x" * (3 * LONGEST_LINE),
        b'{"prompt":"p","shown":["a","a"],"answers":["x","y"],"verdict":"tie","seconds":1}',
        b'{"prompt":"p","shown":["a","b"],"answers":["x","y"],"verdict":"third","seconds":1}',
        b'{"prompt":"p","shown":["a","b"],"answers":["x","y"],"verdict":"tie","seconds":NaN}',
        b'{"prompt":"p","shown":["a","b"],"answers":["x","y"],"verdict":"tie","seconds":1,"more":2}',
        b'{"prompt":{},"shown":[["a"],["b"]],"answers":"xy","verdict":["tie"],"seconds":1}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_vote_is_counted_and_the_others_are_read(tmp_path, line):
    file = VoteFile(tmp_path)
    file.add(vote())
    with open(tmp_path / "votes.jsonl", "ab") as raw:
        raw.write(line + b"\n")
    file.add(vote(verdict="second"))
    other = VoteFile(tmp_path)
    assert [each.verdict for each in other.votes()] == ["first", "second"]
    assert other.damaged == file.damaged == 1


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_stands_in_the_place_of_the_file_is_not_opened(tmp_path, kind):
    place, elsewhere = tmp_path / "votes.jsonl", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"untouched")
    make = {"link": lambda: place.symlink_to(elsewhere), "fifo": lambda: os.mkfifo(place), "folder": place.mkdir}
    make[kind]()
    with pytest.raises(EvaluationError):
        VoteFile(tmp_path).add(vote())
    assert elsewhere.read_bytes() == b"untouched"


@pytest.mark.parametrize(
    "changes",
    [{"shown": ("a",), "answers": ("x",)}, {"verdict": "fourth"}, {"voter": "x" * 1001}, {"seconds": -1},
     {"reason": "x" * 2001}, {"answers": ("x",)}],
)  # fmt: skip
def test_what_is_no_vote_is_refused(changes):
    with pytest.raises(EvaluationError, match="reading a vote"):
        vote(**changes)
