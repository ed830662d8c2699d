"""`ouvert documents`: a person's way with their documents, in real boxes."""

import json
import sys

import pytest

from ouvert.assistant import kept_prefixes
from ouvert.cli import main
from ouvert.cli.arguments import complete_agents, complete_agents_runs, complete_collections, complete_runs
from ouvert.cli.commands.documents import stands_on
from ouvert.documents import DocumentError, extra, prefix_owner, words
from ouvert.engine.prefixes.disk import Place
from ouvert.store import Store


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("OUVERT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def said(capsys):
    def run(*words, status=0):
        assert main(["documents", *words]) == status
        return capsys.readouterr()

    return run


@pytest.fixture
def folder(home):
    (folder := home / "papers").mkdir()
    (folder / "lease.md").write_text("# Lease\n\nThe deposit is 1,250 euro.\n\n## Pets\n\nA cat is allowed.\n")
    (folder / "job.txt").write_text("Holidays are twenty-eight days.")
    return folder


def test_documents_are_added_listed_shown_searched_updated_and_removed(home, folder, said):
    assert "no collections" in said("list").out
    out = said("add", "contracts", str(folder)).out
    assert "lease.md: read" in out
    assert "2 documents" in out
    assert "not encrypted" in out
    assert "contracts" in said("list").out
    assert "lease.md" in said("show", "contracts").out
    assert "A cat is allowed." in said("show", "contracts", "lease.md").out
    assert said("search", "contracts", "how", "much", "deposit").out.startswith("1. lease.md › Lease\n")
    assert "0 passages found" in said("search", "contracts", "submarine").out
    (folder / "job.txt").write_text("Holidays are thirty days.")
    assert json.loads(said("update", "contracts", "--json").out)["changed"] == ["job.txt"]
    receipt = json.loads(said("remove", "contracts", "lease.md", "--json").out)
    assert receipt["removed"][0]["passages"] == 2
    assert receipt["remains"]
    kept = b"".join(each.read_bytes() for each in (home / "home" / "documents").rglob("*") if each.is_file())
    assert b"deposit" not in kept
    assert b"Lease" not in kept
    assert "removed" in said("remove", "contracts", "--all").out
    assert json.loads(said("list", "--json").out) == []


def test_removing_takes_the_kept_prompts_that_held_it_and_no_others(home, folder, said):
    said("add", "contracts", str(folder))
    files = kept_prefixes(Store(home / "home"))
    for n, owner in enumerate((prefix_owner("", ["contracts"]), prefix_owner("", ["others"]), "")):
        name = files.name("root", [n])
        files.write(name, b"x" * 100, place=Place(owner, "root", "root", (n,), "root"))
    receipt = json.loads(said("remove", "contracts", "lease.md", "--json").out)
    assert receipt["kept_prompt_pages"] == 1
    assert files.usage().files == 2
    assert files.cleared is not None  # running servers let go of what they keep in memory


def test_what_cannot_be_read_is_said_and_the_rest_is_read(folder, said):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    ended = said("add", "contracts", str(folder), status=1)
    assert "broken.pdf" in ended.err
    assert "2 documents" in ended.out


def test_a_collection_is_encrypted_where_that_is_asked_for(home, folder, said, monkeypatch):
    monkeypatch.setenv("OUVERT_DOCUMENTS_PASSPHRASE", "a long walk")
    assert "not encrypted" not in said("add", "secret", str(folder), "--passphrase").out
    assert said("search", "secret", "deposit").out
    monkeypatch.setenv("OUVERT_DOCUMENTS_PASSPHRASE", "a short walk")
    assert "key is not the one" in said("search", "secret", "deposit", status=1).err
    said("add", "filed", str(folder), "--key-file", str(home / "key"))
    assert (home / "key").stat().st_mode & 0o077 == 0
    assert said("search", "filed", "deposit").out
    assert "for a new collection" in said("add", "filed", str(folder), "--key-file", str(home / "key"), status=1).err


def test_one_document_or_all_has_to_be_named(folder, said):
    said("add", "contracts", str(folder))
    assert "not both" in said("remove", "contracts", status=1).err
    assert "there is none" in said("remove", "contracts", "absent.md", status=1).err
    assert "there is no collection" in said("show", "absent", status=1).err


def test_without_the_extra_all_that_is_missing_is_named_and_nothing_is_left(home, folder, said, monkeypatch):
    for name in ("snowballstemmer", "selectolax"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it raises ModuleNotFoundError
    words.stemmer.cache_clear()
    words.stem.cache_clear()
    monkeypatch.setattr(extra.importlib.util, "find_spec", lambda name: None if name[0] == "s" else object())
    shown = said("add", "contracts", str(folder), status=1)
    assert "not installed here: selectolax, snowballstemmer. Expected the extra `documents`" in shown.err
    assert "pip install -e '.[documents]'" in shown.err
    assert "there is no such collection" in shown.out
    assert list((home / "home" / "documents" / "own").iterdir()) == []
    assert "no collections" in said("list").out


def test_a_collection_that_is_there_keeps_nothing_of_a_file_that_cannot_be_added(home, folder, said, monkeypatch):
    said("add", "contracts", str(folder / "job.txt"))
    originals = home / "home" / "documents" / "own" / "contracts" / "originals"
    (kept,) = originals.iterdir()

    def broken(*_):
        raise DocumentError("indexing: broken for this test.")

    monkeypatch.setattr("ouvert.documents.index.put", broken)
    said("add", "contracts", str(folder / "lease.md"), status=1)
    assert list(originals.iterdir()) == [kept]


def test_files_of_other_kinds_in_a_folder_are_named(folder, said):
    (folder / "photo.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.png").write_bytes(b"\x89PNG")
    assert (
        said("add", "contracts", str(folder)).err == "of kinds that are not read, and left out: photo.png (1 in all)\n"
    )
    assert said("list").err == ""


def test_a_key_file_that_is_made_is_said(home, folder, said):
    key = home / "key"
    added = said("add", "sealed", "--key-file", str(key), str(folder / "job.txt"))
    assert f"{key} is made: the key of sealed." in added.err
    assert "sealed: 1 document\n" in added.out
    assert "is made" not in said("add", "second", "--key-file", str(key), str(folder / "job.txt")).err


def test_what_stands_on_a_page_is_found_over_the_ends_of_lines():
    class Lease:
        def document(self, _name):
            return type("Document", (), {"id": "1"})

        def pages(self, _id):
            return [(1, 0, 9, False), (2, 9, 40, False)]

        def text(self, _id, start, stop):
            return ("The first" + "Six weeks after the\nagree-\nment ends.")[start:stop]

    assert stands_on(Lease(), "lease.pdf", 2, "after the agreement")
    assert stands_on(Lease(), "lease.pdf", 2, "")
    assert not stands_on(Lease(), "lease.pdf", 1, "after the agreement")
    assert not stands_on(Lease(), "lease.pdf", 2, "Seven weeks")


def test_collections_agents_and_runs_are_completed(home, folder, said):
    assert complete_collections("") == complete_agents_runs("") == []
    said("add", "contracts", str(folder / "job.txt"))
    assert main(["agent", "new", "clerk"]) == 0
    (home / "home" / "agent-runs" / "run-1").mkdir(parents=True)
    (home / "home" / "agent-runs" / "run-2").mkdir()
    assert complete_collections("con") == ["contracts"]
    assert complete_collections("x") == []
    assert complete_agents("c") == ["clerk"]
    assert complete_runs("run-") == ["run-2", "run-1"]
    assert complete_agents_runs("") == ["clerk", "run-2", "run-1"]
