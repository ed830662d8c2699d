"""What others wrote is shown, never obeyed; and no terminal is too old for an answer."""

import os
import subprocess
import sys

import pytest

from ouvert.cli.terminal import visible


def ouvert(*words: str, **how: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "ouvert", *words], capture_output=True, timeout=60, **how)


def test_no_character_that_a_terminal_obeys_is_left():
    assert visible("a\x1b[2J\x07\x9b1m\r\n\té中") == "a\\x1b[2J\\x07\\x9b1m\\x0d\n\té中"


def test_an_error_shows_control_characters_instead_of_sending_them(tmp_path):
    done = ouvert("show", f"{tmp_path}/\x1b[31mred")
    assert done.returncode == 1
    assert b"\\x1b[31mred" in done.stderr
    assert b"\x1b" not in done.stderr


def test_what_an_encoding_lacks_is_spelled_out(tmp_path):
    folder = tmp_path / "modèle"
    folder.mkdir()
    done = ouvert("show", str(folder), env=os.environ | {"PYTHONIOENCODING": "ascii:strict"})
    assert done.returncode == 1
    assert b"mod\\xe8le holds no weights" in done.stderr


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_is_no_fault(closed, tmp_path):
    script = f'exec {closed}>&-; "$0" -m ouvert list'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable],
        capture_output=True, env=os.environ | {"HOME": str(tmp_path)}, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
