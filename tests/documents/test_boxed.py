"""Files read in real boxes: what a file might make its reader do reaches nothing, and no box means no reading."""

import importlib.util
from pathlib import Path

import pytest

from ouvert.documents import Collections, DocumentError, UnreadableFile, boxed, in_a_box
from ouvert.sandbox import BoxRefusedError

spec = importlib.util.spec_from_file_location("files_of_documents", Path(__file__).with_name("files.py"))
assert spec
assert spec.loader
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("lease.pdf", lambda: files.LEASE), ("job.docx", files.docx), ("talk.pptx", files.pptx),
        ("costs.xlsx", files.xlsx), ("hours.html", lambda: files.HTML), ("whale.epub", files.epub),
        ("boiler.eml", lambda: files.MAIL), ("rooms.md", lambda: files.MARKDOWN),
    ],
)  # fmt: skip
def test_every_kind_is_read_in_a_box_as_it_is_read_outside(name, made, run_beside):
    data = made()
    assert boxed.read(name, data, in_a_box()) == boxed.read(name, data, run_beside)


def test_the_picture_of_a_page_comes_from_a_box():
    assert boxed.picture("lease.pdf", files.LEASE, 1, "The deposit", in_a_box()).startswith(b"\x89PNG")


def test_the_reader_in_its_box_reaches_no_file_and_no_network(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("words")
    program = (
        "import socket, sys\n"
        f"for what in (lambda: open({str(secret)!r}), lambda: socket.create_connection(('127.0.0.1', 9), 1),\n"
        f"             lambda: open({str(Path.home() / 'x')!r}, 'w')):\n"
        "    try: what(); print('reached')\n"
        "    except Exception: print('refused')\n"
    )
    ended = in_a_box()(["python", "-c", program], b"")
    assert ended.out.split() == [b"refused"] * 3


def test_a_reader_that_takes_too_much_memory_or_time_is_ended(monkeypatch):
    monkeypatch.setattr(boxed, "SECONDS", 2.0)
    run = in_a_box()
    greedy = run(["python", "-c", "x = b'x' * (3 << 30)"], b"")
    assert greedy.status != 0
    endless = run(["python", "-c", "while True: pass"], b"")
    assert endless.status is None
    assert "2 seconds" in endless.said


def test_without_a_box_adding_is_refused_with_the_reason_and_nothing_is_kept(tmp_path, monkeypatch):
    class Nothing:
        def require(self):
            raise BoxRefusedError("opening a box: this machine gives no way to isolate a program. Install bubblewrap.")

    monkeypatch.setattr(boxed, "probe", Nothing)
    with Collections(tmp_path, in_a_box()).create("contracts") as made:
        with pytest.raises(DocumentError, match="Install bubblewrap"):
            made.add("lease.pdf", files.LEASE)
        assert made.documents == ()
        assert list((made.folder / "originals").iterdir()) == []


def test_a_damaged_file_is_said_from_the_box():
    with pytest.raises(UnreadableFile, match="damaged, or no PDF"):
        boxed.read("a.pdf", b"%PDF-1.4 nothing", in_a_box())
