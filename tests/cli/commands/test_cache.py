"""`ouvert cache` and the options that say where beginnings of prompts are kept."""

import json
import os

import pytest

from ouvert.cli import main
from ouvert.engine import PageFiles


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path))
    return tmp_path


def written(folder, **more):
    files = PageFiles(folder, quota=10**9, **more)
    files.write(files.name("", [1]), b"x" * 1000)


def test_what_is_kept_is_shown_and_cleared(home, capsys):
    assert main(["cache", "show"]) == 0
    said = capsys.readouterr().out
    assert "0 pages" in said
    assert "encrypted" not in said  # "encrypted: none" of no page at all would alarm for nothing
    written(home / "prefixes")
    assert main(["cache", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["files"], shown["encrypted"], shown["folder"]) == (1, 0, str(home / "prefixes"))
    assert main(["cache", "clear"]) == 0
    assert "freed" in capsys.readouterr().out
    assert not list(home.rglob("*.page"))


def test_an_encrypted_cache_is_cleared_without_its_key(home, capsys, monkeypatch):
    written(home / "elsewhere", key=bytes(32))
    monkeypatch.setenv("OUVERT_PREFIX_CACHE_KEY", str(home / "absent"))
    assert main(["cache", "clear", "--prefix-cache", str(home / "elsewhere"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["freed"] > 1000


def test_where_nothing_is_kept_it_says_so(home, capsys, monkeypatch):
    monkeypatch.setenv("OUVERT_PREFIX_CACHE", "off")
    assert main(["cache", "show"]) == 1
    assert "in memory only" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["much", "-1", "nan", "inf"])
def test_a_quota_that_is_none_is_named(home, capsys, size):
    assert main(["cache", "show", f"--prefix-cache-quota={size}"]) == 1
    assert f"{size!r}, expected a number of gigabytes" in capsys.readouterr().err


def test_a_key_that_others_may_read_is_refused(home, capsys):
    key = home / "key"
    key.write_bytes(bytes(32))
    os.chmod(key, 0o644)
    assert main(["cache", "show", "--prefix-cache-key", str(key)]) == 1
    assert "chmod 600" in capsys.readouterr().err


def test_a_passphrase_with_nobody_to_ask_is_refused(home, capsys, monkeypatch):
    def nobody(prompt):
        raise EOFError

    monkeypatch.setattr("getpass.getpass", nobody)
    assert main(["cache", "show", "--prefix-cache-key", "passphrase"]) == 1
    assert "Use a key file" in capsys.readouterr().err


def test_what_was_typed_is_cleared_on_demand(home, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    history = home / "state" / "ouvert" / "history"
    history.parent.mkdir(parents=True)
    history.write_text("+ a secret\n")
    assert main(["cache", "clear"]) == 0
    assert history.exists()
    assert main(["cache", "clear", "--history"]) == 0
    assert not history.exists()


def test_looking_makes_no_key(home, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "settings"))
    assert main(["cache", "show"]) == main(["cache", "clear"]) == 0
    assert not (home / "settings").exists()
