"""Only files are opened. Opening a FIFO waits for a writer, who never comes; opening a device may do something."""

import os

import pytest

from ouvert.assistant import Ledger, LedgerError
from ouvert.serving.keys import KeyFileError, Keys
from ouvert.serving.web.conversations import Conversations
from ouvert.store import StoreError
from ouvert.store.manifest import read_manifest
from ouvert.store.remembered import RememberedDigests
from ouvert.weights import NotRegularError, open_regular, read_regular

pytestmark = pytest.mark.skipif(os.name != "posix", reason="FIFOs and devices are POSIX's")


@pytest.fixture(params=["a FIFO", "a folder", "a link"])
def stranger(request):
    """stranger(path): something that is no file stands there."""

    def put(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        match request.param:
            case "a FIFO":
                os.mkfifo(path)
            case "a folder":
                path.mkdir()
            case "a link":
                path.symlink_to("/dev/zero")
        return path

    put.name = request.param
    return put


def test_what_is_no_file_is_not_opened(tmp_path, stranger, monkeypatch):
    path = stranger(tmp_path / "here")
    monkeypatch.setattr("os.open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(NotRegularError, match=f"{stranger.name} stands where a file should"):
        read_regular(path)
    with pytest.raises(NotRegularError, match="stands where a file should"):
        read_regular(path, follow=True)
    with pytest.raises(NotRegularError):
        open_regular(path, os.O_RDWR | os.O_CREAT)


def test_what_is_exchanged_while_we_look_is_not_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "here"
    path.write_text("a file")
    looked = os.lstat

    def exchanged(at, **more):
        facts = looked(at, **more)
        path.unlink()
        os.mkfifo(path)
        monkeypatch.setattr("os.lstat", looked)
        return facts

    monkeypatch.setattr("os.lstat", exchanged)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with pytest.raises(NotRegularError, match="a FIFO"):
        read_regular(path)
    assert before is None or len(os.listdir("/proc/self/fd")) == before


def test_files_are_read_and_made(tmp_path):
    path = tmp_path / "here"
    with pytest.raises(FileNotFoundError):
        read_regular(path)
    with open(open_regular(path, os.O_WRONLY | os.O_CREAT), "wb") as file:
        file.write(b"what it holds")
    assert path.stat().st_mode & 0o777 == 0o600
    assert (read_regular(path), read_regular(path, 4)) == (b"what it holds", b"what")
    (tmp_path / "link").symlink_to(path)
    assert read_regular(tmp_path / "link", follow=True) == b"what it holds"
    with pytest.raises(NotRegularError):
        read_regular(tmp_path / "link")


def test_the_files_of_the_owners_folders_are_files(tmp_path, stranger):
    stranger(tmp_path / "server" / "keys.json")
    with pytest.raises(KeyFileError, match="no regular file"):
        Keys(tmp_path / "server").every()
    stranger(tmp_path / "conversations" / f"{'a' * 24}.json")
    [damaged] = Conversations(tmp_path / "conversations").listing().damaged
    assert "stands where a file should" in damaged.fault
    with pytest.raises(StoreError, match="stands where a file should"):
        read_manifest(stranger(tmp_path / "models" / "tiny.json"))
    (tmp_path / "weights").write_bytes(b"")
    stranger(tmp_path / "digests.json")
    assert RememberedDigests(tmp_path / "digests.json")._read() == {}
    stranger(tmp_path / "receipts" / "receipts.jsonl")
    ledger = Ledger(tmp_path / "receipts", contents=True)
    with pytest.raises(LedgerError, match="stands where a file should"):
        list(ledger.entries())
    stranger(tmp_path / "receipts" / "contents" / "aa.json")
    with pytest.raises(LedgerError, match="stands where a file should"):
        ledger.contents("sha256:aa")
