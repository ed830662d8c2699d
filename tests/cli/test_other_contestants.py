"""Contestants that other servers compute, as a command names them: the permit, the key, what is said, the answer."""

import argparse
import subprocess
import sys

import pytest

from ouvert.cli import other_contestants
from ouvert.cli.configuration import ConfigurationError
from ouvert.cli.other_contestants import add_remote_arguments, agreed, other_servers, remotes_asked_for
from ouvert.evaluation import Chat, EvaluationError, Item

ITEMS = [
    Item(
        suite="s",
        id="1",
        language="en",
        expected={},
        ask=Chat(messages=({"role": "user", "content": "Hi"},), max_tokens=8),
    )
]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """The owner's configuration, which allows OpenAI's host."""
    path = tmp_path / "config.toml"
    path.write_text('[remote]\nallow = ["api.openai.com"]\n')
    monkeypatch.setenv("OUVERT_CONFIG", str(path))
    return path


def test_the_configuration_names_the_host_and_no_option_does(file):
    (found,) = remotes_asked_for(["openai:gpt-5"])
    assert found.facts.host == "api.openai.com"
    with pytest.raises(EvaluationError, match=r"allow = \[\"api\.anthropic\.com\"\]"):
        remotes_asked_for(["openai:gpt-5", "anthropic:claude-x"])
    parser = argparse.ArgumentParser()
    add_remote_arguments(parser)
    assert {action.dest for action in parser._actions} == {"help", "remote", "send", "yes"}


def test_without_the_permit_no_socket_opens_from_the_command_line(tmp_path):
    body = """
import sys
seen = []
sys.addaudithook(lambda event, args: seen.append(event) if event.startswith("socket.") else None)
from ouvert.cli.other_contestants import remotes_asked_for
from ouvert.evaluation import EvaluationError
try:
    remotes_asked_for(["openai:gpt-5"])
except EvaluationError as problem:
    print(seen, "no connection was opened" in str(problem))
"""
    ran = subprocess.run(
        [sys.executable, "-c", body], capture_output=True, text=True, timeout=60,
        env={"HOME": str(tmp_path), "OPENAI_API_KEY": "sk-1"},
    )  # fmt: skip
    assert ran.stdout == "[] True\n"


def test_what_is_no_host_is_said_with_the_place_where_it_stands(file):
    file.write_text('[remote]\nallow = ["https://api.openai.com"]\n')
    with pytest.raises(ConfigurationError, match=r"remote\.allow, from .*config\.toml"):
        remotes_asked_for(["openai:gpt-5"])


def test_the_key_comes_from_the_environment_and_from_nowhere_else(file, monkeypatch):
    monkeypatch.setattr(other_contestants, "guard_asked_for", lambda: None)
    (found,) = remotes_asked_for(["openai:gpt-5"])
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(EvaluationError, match="OPENAI_API_KEY"):
        other_servers().entrant(found)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert "sk-1" not in repr(other_servers().entrant(found))
    file.write_text('[remote]\nallow = ["api.openai.com"]\nkey = "sk-1"\n')
    with pytest.raises(ConfigurationError, match=r"remote\.key"):
        remotes_asked_for(["openai:gpt-5"])


@pytest.mark.parametrize(
    ("said", "goes"), [("y", True), ("Yes ", True), ("oui", True), ("", False), ("n", False), ("j", False)]
)
def test_only_a_yes_lets_the_questions_go(file, capsys, said, goes):
    assert agreed(remotes_asked_for(["openai:gpt-5"]), ITEMS, 1, yes=False, answer=lambda _: said) is goes
    err = capsys.readouterr().err
    assert "leaves the machine" in err
    assert "host: api.openai.com; prompts: 1" in err
    assert "price: not known" in err
    assert ("Nothing was sent." in err) is not goes


def test_where_nobody_is_there_to_say_yes_it_has_to_be_said_beforehand(file, capsys):
    def nobody(_):
        raise EOFError

    remotes = remotes_asked_for(["openai:gpt-5"])
    with pytest.raises(EvaluationError, match="--yes"):
        agreed(remotes, ITEMS, 1, yes=False, answer=nobody)
    assert agreed(remotes, ITEMS, 1, yes=True, answer=nobody)
    assert "leaves the machine" in capsys.readouterr().err


def test_the_price_is_that_of_the_owners_list(file, tmp_path, capsys):
    (tmp_path / "prices.toml").write_text(
        '["openai:gpt-5"]\ninput = 1\noutput = 2\ncurrency = "EUR"\nsource = "my contract"\nread = 2026-11-30\n'
    )
    file.write_text(f'[remote]\nallow = ["api.openai.com"]\nprices = "{tmp_path / "prices.toml"}"\n')
    agreed(remotes_asked_for(["openai:gpt-5:low"]), ITEMS, 1, yes=True)
    assert "EUR, by your list (my contract, read 2026-11-30)" in capsys.readouterr().err


def test_with_no_remote_contestant_nothing_is_said_or_asked(capsys):
    assert agreed((), ITEMS, 1, yes=False)
    assert capsys.readouterr().err == ""
