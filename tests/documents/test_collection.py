"""A collection: what is put in is found, shown, read again when it changed, and nobody else's."""

import os
from pathlib import Path

import pytest

from ouvert.documents import Collections, DocumentError, WrongKey, database
from ouvert.documents.passages import MOST

LEASE = b"# Lease\n\nThe deposit is 1,250 euro.\n\n## Pets\n\nA cat is allowed. Dogs need a written permission.\n"


def test_what_was_added_is_found_under_its_headings(contracts):
    added = contracts.add("lease.md", LEASE)
    assert (added.title, added.language, added.pages, added.unread) == ("Lease", "english", 1, ())
    (found,) = contracts.search("dog permission")
    assert found.path == ("Lease", "Pets")
    assert found.text == "Pets\n\nA cat is allowed. Dogs need a written permission."
    assert contracts.text(added.id, found.start, found.stop) == found.text
    assert contracts.search("submarine") == ()


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Notice is given in writing.", "AX-4711/B"),
        ("Die Küchen werden montags gereinigt.", "reinigen der Küche"),
        ("Les contrats ont été signés à Lyon.", "signature du contrat"),
        ("El depósito se devuelve.", "¿cuándo devuelven los depósitos?"),
        ("北京大学的图书馆每天早上九点开门。", "图书馆几点开门"),
        ("北京大学的图书馆每天早上九点开门。", "图书"),
        ("ห้องสมุดเปิดเวลาเก้าโมงเช้า", "ห้องสมุดเปิด"),
        ("東京の図書館は九時に開きます。", "図書館"),
    ],
)
def test_words_are_found_in_their_language_and_numbers_whole(contracts, text, question):
    contracts.add("a.txt", text.encode())
    contracts.add("b.txt", b"The boiler AX-4711/B is in the cellar, AX-4712/B in the attic.")
    contracts.add("c.txt", b"Nothing here is about any of it.")
    wanted = "b.txt" if question == "AX-4711/B" else "a.txt"
    assert contracts.search(question)[0].name == wanted


def test_there_is_one_ranking_over_all_files(contracts):
    for n in range(6):
        contracts.add(
            f"noise{n}.txt", f"The deposit is mentioned in passing here, number {n}, among many others.".encode()
        )
    contracts.add("lease.md", LEASE)
    contracts.add("rules.md", b"# Deposit\n\nThe deposit account: the deposit earns interest.")
    found = contracts.search("deposit account", 3)
    assert found[0].name == "rules.md"
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_passages_keep_to_their_size_and_pages(contracts):
    words = " ".join(f"Sentence {n} has exactly six words." for n in range(400))
    contracts.add("long.txt", (words + "\f" + words).encode())
    whole = contracts.whole()
    assert {each.page for each in whole} == {1, 2}
    assert all(len(each.text.split()) <= MOST for each in whole)
    assert all(each.text.rstrip().endswith("words.") for each in whole)  # cut behind sentences
    document = contracts.documents[0].id
    for page, start, stop, _ in contracts.pages(document):
        own = [each for each in whole if each.page == page]
        assert "".join(each.text for each in own) == contracts.text(document, start, stop)


def test_the_same_file_is_kept_once_and_a_new_one_of_its_name_replaces_it(contracts):
    first = contracts.add("lease.md", LEASE)
    assert contracts.add("copy.md", LEASE) == first
    contracts.add("lease.md", LEASE.replace(b"1,250", b"1,400"))
    assert [each.name for each in contracts.documents] == ["lease.md"]
    assert contracts.search("deposit 1,400")[0].text.endswith("1,400 euro.")
    assert len(list((contracts.folder / "originals").iterdir())) == 1


def test_update_reads_what_changed_and_what_is_new(contracts, tmp_path):
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    (folder / "lease.md").write_bytes(LEASE)
    (folder / "deep" / "job.txt").write_text("Holidays are twenty-eight days.")
    (folder / ".hidden.txt").write_text("not read")
    (folder / "picture.jpg").write_bytes(b"\xff\xd8")
    assert set(contracts.add_path(folder).added) == {"lease.md", "job.txt"}
    assert contracts.update().unchanged == ("job.txt", "lease.md")
    os.utime(folder / "lease.md", (1, 1))  # touched, and the same
    assert contracts.update().changed == ()
    (folder / "lease.md").write_bytes(LEASE.replace(b"cat", b"hamster"))
    (folder / "new.txt").write_text("A new file about gravel.")
    (folder / "deep" / "job.txt").unlink()
    done = contracts.update()
    assert (done.changed, done.added, done.missing) == (("lease.md",), ("new.txt",), ("job.txt",))
    assert contracts.search("hamster")
    assert not contracts.search("cat")
    assert contracts.search("gravel")


def test_one_file_that_cannot_be_read_stops_no_other(contracts, tmp_path):
    (tmp_path / "a.txt").write_text("fine")
    (tmp_path / "b.txt").write_bytes(b"\0\xff")
    (tmp_path / "c.docx").write_bytes(b"")

    def failing(argv, data):
        from ouvert.documents import Ran

        return Ran(3, b"", "zero bytes") if b"\0" in data else contracts_run(argv, data)

    contracts_run, contracts._run = contracts._run, failing
    done = contracts.add_path(tmp_path)
    assert done.added == ("a.txt",)
    assert len(done.refused) == 2
    assert "b.txt" in done.refused[0]


def test_nobody_opens_anothers_collection(tmp_path, collections, contracts):
    contracts.add("lease.md", LEASE)
    anna = Collections(tmp_path, collections._run, owner="key:anna")
    assert anna.names() == ()
    with pytest.raises(DocumentError, match="there is no collection 'contracts'"):
        anna.open("contracts")
    with anna.create("contracts") as own:
        assert own.search("deposit") == ()
    assert len(contracts.documents) == 1


@pytest.mark.parametrize("name", ["", "../x", "A", "a b", ".hidden", "x" * 65])
def test_a_name_is_no_path(collections, name):
    with pytest.raises(DocumentError, match="cannot be called"):
        collections.create(name)


@pytest.mark.parametrize("way", ["passphrase", "key file"])
def test_an_encrypted_collection_shows_no_word_and_opens_with_its_key_alone(tmp_path, collections, way):
    given = {"passphrase": "a long walk"} if way == "passphrase" else {"key_file": tmp_path / "key"}
    with collections.create("secret", **given) as made:
        made.add("lease.md", LEASE)
    assert all_bytes(made.folder).count(b"deposit") == 0
    assert not (made.folder / "index.sqlite").read_bytes().startswith(b"SQLite")
    asked = Collections(tmp_path, collections._run, passphrase=lambda name: "a long walk")
    with asked.open("secret") as opened:
        assert opened.search("deposit")
        assert opened.original(opened.documents[0]) == LEASE
    wrong = Collections(tmp_path, collections._run, passphrase=lambda name: "a short walk")
    if way == "key file":
        (tmp_path / "key").write_bytes(b"0" * 32)
    with pytest.raises(WrongKey):
        wrong.open("secret")


def test_without_a_key_it_is_said_that_one_is_needed(collections):
    collections.create("secret", passphrase="a long walk").close()
    with pytest.raises(WrongKey, match="OUVERT_DOCUMENTS_PASSPHRASE"):
        collections.open("secret")


def test_without_the_extra_nothing_is_encrypted_and_that_is_said(collections, monkeypatch):
    monkeypatch.setattr("ouvert.documents.collections.encrypts", lambda: False)
    with pytest.raises(DocumentError, match="no library that encrypts"):
        collections.create("secret", passphrase="x")


@pytest.mark.parametrize("sqlite", ["the extra's", "Python's own"])
def test_what_is_removed_is_gone_from_every_file(collections, sqlite, monkeypatch):
    if sqlite == "Python's own":
        monkeypatch.setattr(database, "encrypts", lambda: False)
    with collections.create("contracts") as made:
        for n in range(40):
            made.add(
                f"other{n}.txt", f"Text number {n} is about something else, words{n} and gravel. AB-{n}/X".encode()
            )
        made.add("lease.md", LEASE + b"\n\nPart ZQ-9/K7 is the zeppelin.\n")
        assert all_bytes(made.folder).count(b"zeppelin") >= 2
        removed = made.remove(made.document("lease.md"))
        assert removed["passages"] == 2
        assert removed["kept_file_bytes"] > 0
        left = all_bytes(made.folder)
        for word in (b"zeppelin", b"Lease", b"deposit", b"permission", b"permiss", b"ZQ-9", b"lease.md"):
            assert word not in left
        assert len(made.search("gravel")) == 10
        assert made.search("zeppelin") == ()


def test_a_replaced_text_leaves_no_word_either(contracts):
    contracts.add("a.txt", b"The zeppelin lands at noon.")
    contracts.add("a.txt", b"The balloon lands at noon.")
    assert b"zeppelin" not in all_bytes(contracts.folder)


def test_a_plain_delete_would_leave_the_word(collections, monkeypatch):
    """That the search of the files above finds what SQLite leaves by itself."""
    monkeypatch.setattr(database, "encrypts", lambda: False)
    monkeypatch.setattr("ouvert.documents.index.scrub", lambda database: None)
    with collections.create("contracts") as made:
        made.add("lease.md", LEASE + b"\n\nThe zeppelin.\n")
        made._database.rows("PRAGMA secure_delete = OFF")
        made.remove(made.document("lease.md"))
        assert b"zeppelin" in all_bytes(made.folder)


def test_a_whole_collection_is_removed_without_its_key(collections):
    made = collections.create("secret", passphrase="a long walk")
    made.close()
    assert collections.remove("secret")["bytes"] > 0
    assert collections.names() == ()
    assert not made.folder.exists()


def all_bytes(folder: Path) -> bytes:
    return b"".join(each.read_bytes() + each.name.encode() for each in sorted(folder.rglob("*")) if each.is_file())
