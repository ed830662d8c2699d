"""The file of a pool: what it says is honoured, what it cannot say is refused with its place."""

from pathlib import Path

import pytest

from ouvert.cli.configuration import ConfigurationError
from ouvert.cli.pool_file import read_pool_file
from ouvert.engine import EngineError

TWO = """
[pool]
overflow = 2
wait = "1m"
failures = 1
rest = 7
silence = "90s"
allow_other_weights = true

[[member]]
name = "attic"
url = "https://attic.lan/engines/"
key_file = "attic.key"

[[member]]
name = "cellar"
url = "http://[::1]:18435"
key_env = "CELLAR_KEY"
"""


def written(tmp_path, text):
    path = tmp_path / "pool.toml"
    path.write_text(text)
    return path


def test_what_it_says_is_read(tmp_path, monkeypatch):
    (tmp_path / "attic.key").write_text("sk-attic\n")
    monkeypatch.setenv("CELLAR_KEY", "sk-cellar")
    pool = read_pool_file(written(tmp_path, TWO))
    assert [(each.name, str(each.address), each.key) for each in pool.members] == [
        ("attic", "https://attic.lan:443/engines", "sk-attic"),
        ("cellar", "http://[::1]:18435", "sk-cellar"),
    ]
    settings = pool.settings
    assert (settings.rules.overflow, settings.rules.wait) == (2, 60.0)
    assert (settings.patience.failures, settings.patience.rest) == (1, 7.0)
    assert (settings.silence, settings.allow_other_weights) == (90.0, True)
    assert pool.hosts == ["attic.lan:443", "[::1]:18435"]


def test_the_documents_example_can_be_read(tmp_path, monkeypatch):
    text = (
        (Path(__file__).parents[2] / "docs" / "formats" / "pool.md").read_text().split("```toml\n")[1].split("```")[0]
    )
    (tmp_path / "attic.key").write_text("sk-attic")
    monkeypatch.setenv("CELLAR_KEY", "sk-cellar")
    assert [each.name for each in read_pool_file(written(tmp_path, text)).members] == ["attic", "cellar"]


def test_who_is_asked_in_the_clear_beyond_this_machine_is_known(tmp_path):
    members = ["http://10.0.0.5:1", "http://127.0.0.1:1", "https://10.0.0.6:1"]
    text = "".join(f'[[member]]\nname = "m{n}"\nurl = "{url}"\n' for n, url in enumerate(members))
    assert read_pool_file(written(tmp_path, text)).in_the_clear == ["10.0.0.5:1"]


ONE = '[[member]]\nname = "a"\nurl = "http://a:1"\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "names no members"),
        ("[[member]]\nname = 'a'", "member 1 has no url"),
        ("[pool]\noverflow = -1\n" + ONE, r"overflow is -1, expected a whole number, 0 or more"),
        ("[pool]\nreplicas = 2\n" + ONE, "has replicas, which is unknown"),
        ("[members]\n" + ONE, "has members, which is unknown"),
        (ONE + "weight = 2", "member 1 has weight, which is unknown"),
        (ONE + ONE, "two members have the name a"),
        (ONE + ONE.replace('"a"', '"b"'), "two members have the address http://a:1"),
        (ONE.replace('"a"', '"a b"'), "name is 'a b'"),
        (ONE + 'key_env = "NOT_SET_HERE"', "NOT_SET_HERE, which is not set"),
        (ONE + 'key_file = "not here"', "key_file .*not here cannot be read"),
        (ONE + 'key_env = "A"\nkey_file = "b"', "expected one of them"),
        ("[[member", "is not TOML"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(tmp_path, text, named):
    with pytest.raises(ConfigurationError, match=named):
        read_pool_file(written(tmp_path, text))


@pytest.mark.parametrize("url", ["a:1", "ftp://a", "http://user:secret@a", "http://a?key=1"])
def test_an_address_that_is_none_is_refused(tmp_path, url):
    with pytest.raises(EngineError, match="its address is"):
        read_pool_file(written(tmp_path, ONE.replace("http://a:1", url)))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read as a pool's file"):
        read_pool_file(tmp_path / "none.toml")
