"""`ouvert serve --install-service`: the unit it writes, and what it asks of systemd."""

import os
import subprocess
import sys

import pytest

from ouvert.cli import main
from ouvert.cli.service import ServiceError, quoted, unit_text


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """A systemctl that writes down what it is told; it fails where the file `refuses` names the action."""
    programs = tmp_path / "bin"
    programs.mkdir()
    told = tmp_path / "told"
    script = f"""#!/bin/sh
echo "$@" >> {told}
if [ "$2" = "$(cat {tmp_path}/refuses 2>/dev/null)" ]; then echo "no bus" >&2; exit 1; fi
"""
    (programs / "systemctl").write_text(script)
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    return tmp_path


def unit(folder):
    return folder / "config" / "systemd" / "user" / "ouvert.service"


def test_the_service_is_installed_started_and_taken_away(systemd, monkeypatch, capsys):
    (systemd / "here").mkdir()
    (systemd / "here" / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(systemd)
    assert main(["serve", "here/model.gguf", "--install-service", "--stop-within", "20s", "--name", "a b"]) == 0
    lines = unit(systemd).read_text().splitlines()
    words = f'"-m" "ouvert" "serve" "{systemd}/here/model.gguf" "--stop-within" "20s" "--name" "a b"'
    assert f'ExecStart="{sys.executable}" {words}' in lines
    assert f'Environment="OUVERT_HOME={systemd}/home"' in lines
    assert "TimeoutStopSec=35" in lines
    assert (systemd / "told").read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable ouvert.service",
        "--user restart ouvert.service",
    ]
    assert "systemctl --user status ouvert.service" in capsys.readouterr().err
    assert main(["serve", "--uninstall-service"]) == 0
    assert not unit(systemd).exists()
    assert (systemd / "told").read_text().splitlines()[3:] == [
        "--user disable --now ouvert.service",
        "--user daemon-reload",
    ]
    assert main(["serve", "--uninstall-service"]) == 0
    assert "There is no such service" in capsys.readouterr().err


def test_the_guard_of_a_server_does_not_keep_systemctl_from_being_asked(systemd):
    """In a process of its own, as typed: a guard cannot be taken away again."""
    (systemd / "model.gguf").write_bytes(b"GGUF....")
    for words in (["model.gguf", "--install-service"], ["--uninstall-service"]):
        command = [sys.executable, "-m", "ouvert", "serve", *words]
        surroundings = {**os.environ, "OUVERT_GUARD": "on"}
        ran = subprocess.run(command, capture_output=True, text=True, cwd=systemd, env=surroundings)
        assert ran.returncode == 0, ran.stderr
    assert (systemd / "told").read_text().splitlines()[2:4] == [
        "--user restart ouvert.service",
        "--user disable --now ouvert.service",
    ]


@pytest.mark.parametrize("action", ["daemon-reload", "enable", "restart"])
def test_what_systemd_refuses_is_said_with_what_is_done_already(systemd, capsys, action):
    (systemd / "refuses").write_text(action)
    assert main(["serve", "--install-service"]) == 1
    said = capsys.readouterr().err
    assert f"systemd refused to {action} it (no bus)" in said
    assert f"{unit(systemd)} is written" in said


def test_without_systemd_it_says_so(systemd, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(systemd))
    assert main(["serve", "--install-service"]) == 1
    assert "this system has no systemctl" in capsys.readouterr().err


def test_words_are_written_as_systemd_reads_them():
    text = unit_text(['50% of $HOME, "it" \\ '], 10, {"OUVERT_HOME": "/a $b %c"})
    assert 'ExecStart="50%% of $$HOME, \\"it\\" \\\\ "' in text
    assert 'Environment="OUVERT_HOME=/a $b %%c"' in text
    with pytest.raises(ServiceError, match="control character"):
        quoted("two\nlines")
    assert "TimeoutStopSec=infinity" in unit_text(["a"], float("inf"), {})
