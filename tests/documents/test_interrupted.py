"""A collection that several change at once, that somebody was killed while changing, or whose files have odd names."""

import os
import threading
from pathlib import Path

import pytest
from tests.documents.test_collection import LEASE, all_bytes

from ouvert.documents import DocumentError, index


def test_two_files_of_one_name_in_two_folders_are_two_documents(contracts, tmp_path):
    folder = tmp_path / "files"
    for place, text in (("one", "The zeppelin lands."), ("two", "The balloon rises.")):
        (folder / place).mkdir(parents=True)
        (folder / place / "readme.md").write_text(text)
    contracts.add_path(folder)
    assert [each.name for each in contracts.documents] == ["readme.md", "readme.md"]
    assert len(contracts.update().unchanged) == 2
    (folder / "one" / "readme.md").rename(folder / "readme.md")  # moved and changed: the old place is gone
    (folder / "readme.md").write_text("The zeppelin stays.")
    contracts.update()
    assert sorted(contracts.text(each.id) for each in contracts.documents) == [
        "The balloon rises.",
        "The zeppelin stays.",
    ]


def test_two_files_with_the_same_bytes_settle(contracts, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("The same words.")
    assert contracts.add_path(folder).added == ("a.txt",)
    assert sorted(contracts.update().unchanged) == ["a.txt", "b.txt"]
    (folder / "a.txt").unlink()
    contracts.update()
    assert (contracts.documents[0].name, contracts.documents[0].source) == ("b.txt", str(folder / "b.txt"))


def test_a_file_whose_name_is_no_text_is_refused_and_stops_no_other(contracts, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "fine.txt").write_text("fine")
    with open(os.fsencode(folder) + b"/\xff.txt", "w") as file:
        file.write("odd")
    done = contracts.add_path(folder)
    assert done.added == ("fine.txt",)
    assert "its name is not in UTF-8" in done.refused[0]
    done.refused[0].encode()  # and can be shown


def test_what_a_killed_add_or_removal_left_is_swept_by_the_next_change(contracts):
    contracts.add("lease.md", LEASE)
    (contracts.folder / "originals" / ("0" * 64)).write_bytes(b"zeppelin")  # kept, and never known
    lease = contracts.document("lease.md")
    with contracts._database.changing():  # taken out, and its file never unlinked
        index.take_out(contracts._database, lease.id)
    contracts.add("other.txt", b"About gravel.")
    left = all_bytes(contracts.folder)
    assert b"zeppelin" not in left
    assert b"deposit" not in left
    assert contracts.original(contracts.document("other.txt")) == b"About gravel."


def test_what_a_killed_removal_of_a_collection_left_is_swept(collections):
    with collections.create("contracts") as made:
        made.add("lease.md", LEASE)
    (made.folder / "collection.json").unlink()  # the first thing that `remove` does
    assert collections.names() == ()
    collections.create("other").close()
    assert not made.folder.exists()
    assert collections.names() == ("other",)


def test_the_same_file_added_by_two_at_once_is_kept_whole(collections):
    collections.create("contracts").close()
    both, plain = threading.Barrier(2), collections._run

    def together(argv, data):
        both.wait(10)
        return plain(argv, data)

    collections._run = together
    failed = in_threads(2, lambda n: add_to(collections.open("contracts"), "lease.md", LEASE))
    assert failed == []
    with collections.open("contracts") as opened:
        assert opened.original(opened.document("lease.md")) == LEASE


def test_several_may_begin_one_collection_at_once(collections):
    failed = in_threads(4, lambda n: begin(collections, n))
    assert failed == []
    with collections.open("contracts") as opened:
        assert [each.name for each in opened.documents] == [f"{n}.txt" for n in range(4)]
        assert [opened.original(each) for each in opened.documents] == [f"Number {n}.".encode() for n in range(4)]


def test_what_somebody_else_removed_is_said_to_be_gone(collections, contracts):
    lease = contracts.add("lease.md", LEASE)
    with collections.open("contracts") as other:
        other.remove(lease)
    with pytest.raises(DocumentError, match="there is none"):
        contracts.remove(lease)
    with pytest.raises(DocumentError, match="it was removed"):
        contracts.text(lease.id)
    collections.remove("contracts")
    with pytest.raises(DocumentError):
        contracts.add("new.txt", b"new")
    assert collections.names() == ()


def test_a_search_sees_one_moment(contracts, monkeypatch, collections):
    contracts.add("lease.md", LEASE)
    plain = index.passages

    def later(database, name, wanted):
        with collections.open("contracts") as other:  # which opens while another one reads
            other._database.rows("PRAGMA busy_timeout = 10")
            with pytest.raises(DocumentError, match="locked"):
                other._database.rows("DELETE FROM passages")
        return plain(database, name, wanted)

    monkeypatch.setattr(index, "passages", later)
    assert contracts.search("deposit")


def test_a_disk_that_is_full_is_said_and_leaves_nothing(contracts, monkeypatch):
    def full(path, pieces):
        path.write_bytes(b"zeppelin")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ouvert.documents.collection.write_whole", full)
    with pytest.raises(DocumentError, match="No space left on device"):
        contracts.add("lease.md", LEASE)
    assert b"zeppelin" not in all_bytes(contracts.folder)
    assert contracts.documents == ()


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * ((1 << 20) + 1)])
def test_a_key_file_has_a_size_that_is_read(collections, tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(DocumentError, match="expected 32 to"):
        collections.create("secret", key_file=tmp_path / "key")
    assert collections.names() == ()


def test_a_pipe_and_a_device_are_no_key(collections, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(DocumentError, match="it is no file"):
            collections.create("secret", key_file=place)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a\n\n[2] trusted.pdf\nPay.txt", "a [2] trusted.pdf Pay.txt"),
        ("\x1b[31m\0red.txt", "[31mred.txt"),
        ("report\u202efdp.txt", "reportfdp.txt"),
        ("a" * 5000 + ".txt", "a" * 205 + "…" + "a" * 45 + ".txt"),
    ],
)
def test_a_name_is_one_line_that_reads_as_it_stands(contracts, name, kept):
    assert contracts.add(name, b"words").name == kept
    titled = contracts.add("t.html", f"<title>{name}</title><p>other words</p>".encode()).title
    assert "\n" not in titled
    assert "\x1b" not in titled
    assert len(titled) <= 255


def add_to(opened, name, data):
    with opened:
        opened.add(name, data)


def begin(collections, n):
    with collections.begun("contracts") as opened:
        opened.add(f"{n}.txt", f"Number {n}.".encode())


def in_threads(many, act):
    """What they raised."""
    failed = []

    def one(n):
        try:
            act(n)
        except Exception as problem:
            failed.append(problem)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(many)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return failed
