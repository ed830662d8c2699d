"""Long work gives way to answers: another process sees whether one is being written, and a killed one is forgotten."""

import os
import signal
import subprocess
import sys

import pytest

from ouvert.store import Answering, somebody_is_answered


def test_it_is_seen_as_long_as_any_answer_is_written(tmp_path):
    answering = Answering(tmp_path)
    assert not somebody_is_answered(tmp_path)
    answering.begin()
    answering.begin()
    assert somebody_is_answered(tmp_path)
    answering.end()
    assert somebody_is_answered(tmp_path)
    answering.end()
    assert not somebody_is_answered(tmp_path)
    assert os.listdir(tmp_path / "answering") == []


def test_two_servers_are_told_apart(tmp_path):
    one, other = Answering(tmp_path), Answering(tmp_path)
    one.begin()
    other.begin()
    one.end()
    assert somebody_is_answered(tmp_path)
    other.end()
    assert not somebody_is_answered(tmp_path)


PROGRAM = """
import sys, time
from pathlib import Path
from ouvert.store import Answering
answering = Answering(Path(sys.argv[1]))
answering.begin()
print("begun", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_process_that_is_killed_answers_nobody(tmp_path):
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"begun\n"
        assert somebody_is_answered(tmp_path)
        other.send_signal(signal.SIGKILL)
    assert not somebody_is_answered(tmp_path)
    assert os.listdir(tmp_path / "answering") == []


def test_a_store_that_cannot_be_written_stops_no_answer(tmp_path):
    (tmp_path / "answering").write_text("no folder")
    answering = Answering(tmp_path)
    answering.begin()
    answering.end()
    assert not somebody_is_answered(tmp_path)
