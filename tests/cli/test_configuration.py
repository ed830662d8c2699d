"""Settings: where each comes from, which goes first, and what is said of those that make no sense."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ouvert.cli import build_parser, main
from ouvert.cli.arguments import settle
from ouvert.cli.configuration import Configuration, ConfigurationError
from ouvert.cli.settings import SETTINGS, template
from ouvert.store import Store

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The configuration file of this test; empty until it is written to."""
    path = tmp_path / "config.toml"
    path.write_text("")
    monkeypatch.setenv("OUVERT_CONFIG", str(path))
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    return path


def settled(*words):
    args = build_parser(words[0]).parse_args(words)
    settle(args)
    return args


def test_the_line_goes_before_the_environment_that_before_the_file_and_that_before_the_default(file, monkeypatch):
    assert settled("serve").port == 11435
    file.write_text("[serve]\nport = 1")
    assert settled("serve").port == 1
    monkeypatch.setenv("OUVERT_SERVE_PORT", "2")
    assert settled("serve").port == 2
    assert settled("serve", "--port", "3").port == 3


def test_every_setting_can_stand_in_the_file_as_its_example_says(file, monkeypatch):
    monkeypatch.delenv("OUVERT_HOME")
    lines, table = [], ""
    for key, setting in SETTINGS.items():
        of = key.rpartition(".")[0]
        lines += [f"[{of}]"] * (of != table) + [f"{setting.name} = {setting.example}"]
        table = of
    file.write_text("\n".join(lines))
    stated = Configuration()
    for key, setting in SETTINGS.items():
        assert stated.stated(key).source == str(file), key
        assert stated.value(key) != setting.default, f"the example of {key} shows nothing"


def test_every_setting_can_stand_in_the_environment(file, monkeypatch):
    for setting in SETTINGS.values():
        value = tomllib.loads(f"it = {setting.example}")["it"]
        words = ",".join(value) if isinstance(value, list) else str(value).lower() if value in (0, 1) else str(value)
        if isinstance(value, bool):
            words = "on" if value else "off"
        monkeypatch.setenv(setting.variable, words)
    stated = Configuration()
    for key, setting in SETTINGS.items():
        assert stated.stated(key).source == setting.variable
        assert stated.stated(key).value == setting.read(tomllib.loads(f"it = {setting.example}")["it"]), key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "sets prot, and there is no such setting"),
        ("[serve]\nprot = 1", "did you mean serve.port?"),
        ("[serve]\nport = 70000", r"serve.port in .* is 70000, expected a whole number from 0 to 65535"),
        ('[serve]\nkeep = "soon"', "expected a time: 90s, 30m, 2h or forever"),
        ('[serve]\nmemory = "much"', "expected a size: 800MB or 12GB"),
        ("[serve]\nport = true", "is True, expected a whole number"),
        ("threads = 0", "expected a whole number, 1 or more"),
        ('receipts = "maybe"', "expected one of on, contents, off"),
        ('guard = "no"', "expected on or off"),
        ("allow_hosts = [1]", "expected a list of texts"),
        ("threads = nothing", r"is not TOML: .*line 1"),
    ],
)
def test_what_makes_no_sense_is_named_with_what_was_expected(file, text, said):
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        [Configuration().value(key) for key in SETTINGS]


def test_a_file_that_was_named_must_be_there(file, capsys):
    file.unlink()
    assert main(["config"]) == 1
    assert "there is no such file" in capsys.readouterr().err


def test_a_file_that_is_no_text_is_named(file, capsys):
    file.write_bytes(b"a = '\xff'")
    assert main(["list"]) == 1
    assert "is not UTF-8 text (byte 5)" in capsys.readouterr().err


def test_config_shows_where_each_value_comes_from(file, capsys, monkeypatch):
    file.write_text('cache = "q8"\n[serve]\nkeep = "1h"')
    monkeypatch.setenv("OUVERT_THREADS", "2")
    assert main(["config"]) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    shown = {row[0]: [cell.strip() for cell in row[1:] if cell.strip()] for row in rows}
    assert shown["cache"] == ["q8", str(file)]
    assert shown["threads"] == ["2", "OUVERT_THREADS"]
    assert shown["serve.keep"] == ["3600", str(file)]
    assert shown["serve.port"] == ["11435", "default"]
    assert main(["config", "--json"]) == 0
    stated = json.loads(capsys.readouterr().out)
    assert stated["settings"]["serve.keep"] == {"value": 3600.0, "source": str(file)}
    assert set(stated["settings"]) == set(SETTINGS)
    assert main(["config", "serve.port"]) == 0
    assert capsys.readouterr().out == "11435\n"
    assert main(["config", "prot"]) == 1


def test_the_file_is_written_once_and_sets_nothing(file, capsys, monkeypatch):
    file.unlink()
    assert main(["config", "--write"]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert Configuration().in_file == {}
    assert main(["config", "--write"]) == 1
    assert "stays as it is" in capsys.readouterr().err


def test_the_template_with_its_comments_taken_away_is_a_file(file):
    examples = [
        line.removeprefix("# ") if line.startswith(tuple(f"# {s.name} = " for s in SETTINGS.values())) else line
        for line in template().splitlines()
    ]
    file.write_text("\n".join(examples))
    assert set(Configuration().in_file) == set(SETTINGS)


def test_the_document_has_every_setting_as_the_command_says_it():
    text = DOCUMENT.read_text(encoding="utf-8")
    [written] = [part.removeprefix("toml\n") for part in text.split("```") if part.startswith("toml\n# Ouvert's")]
    assert written == template(), "write it anew: `ouvert config --write` makes this text"


def test_the_store_the_file_names_is_the_one_that_is_used(file, capsys, monkeypatch, tmp_path, speaking_model):
    monkeypatch.delenv("OUVERT_HOME")
    file.write_text(f'home = "{tmp_path / "there"}"')
    Store(tmp_path / "there").pull(str(speaking_model()), name="tiny")
    assert main(["list"]) == 0
    assert "tiny" in capsys.readouterr().out


def test_run_asks_the_model_of_the_file_with_its_settings(tmp_path, speaking_model):
    (tmp_path / "config.toml").write_text(
        f'model = "{speaking_model()}"\nhome = "{tmp_path / "home"}"\nreceipts = "contents"\nthreads = 1'
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUVERT_")}
    ran = subprocess.run(
        [sys.executable, "-m", "ouvert", "run", "--json"],
        input="Hi",
        capture_output=True,
        text=True,
        env=environment | {"OUVERT_CONFIG": str(tmp_path / "config.toml")},
        timeout=60,
    )
    answer = json.loads(ran.stdout)
    assert (answer["text"], answer["receipt"]["engine"]["threads"]) == ("Hello from a tiny model.", 1)
    assert list((tmp_path / "home" / "receipts" / "contents").iterdir())
