"""The ledger of receipts: chained, shared, and whole again after a kill, a full disk or a hand in the file."""

import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading

import pytest

from ouvert.assistant import Ledger, LedgerError, receipt_digest
from ouvert.assistant.receipts import ledger as module


def receipt(n):
    return {"receipt": 2, "n": n, "seconds": {"decode": 7.2e-05}, "name": "é \ud83d"}


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "receipts")


def filled(ledger, count=3):
    return [ledger.append(receipt(n)) for n in range(count)]


def test_each_receipt_names_the_digest_of_the_line_before(ledger):
    kept = filled(ledger)
    lines = ledger.path.read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == kept
    assert "previous" not in kept[0]
    for before, after in zip(lines, kept[1:], strict=False):
        assert after["previous"] == f"sha256:{hashlib.sha256(before).hexdigest()}"
    assert receipt_digest(kept[2]) == ledger.check().head
    assert ledger.check().whole


def test_only_the_owner_may_read_it(ledger):
    ledger.append(receipt(0))
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(ledger.folder.stat().st_mode) == 0o700


def test_a_ledger_that_was_never_written_is_empty_and_stays_absent(ledger):
    assert ledger.check().receipts == 0
    assert not ledger.folder.exists()
    with pytest.raises(LedgerError, match="holds no receipts yet"):
        ledger.find("last")


def test_another_ledger_over_the_same_file_goes_on_where_this_one_stopped(ledger):
    filled(ledger)
    Ledger(ledger.folder).append(receipt(3))
    ledger.append(receipt(4))
    assert [entry.receipt["n"] for entry in ledger.entries()] == list(range(5))
    assert ledger.check().whole


def test_threads_may_append_at_once(ledger):
    threads = [threading.Thread(target=filled, args=(ledger, 50)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (ledger.check().receipts, ledger.check().whole) == (400, True)


APPENDER = """
import sys
from pathlib import Path
from ouvert.assistant import Ledger
ledger = Ledger(Path(sys.argv[1]))
print("ready", flush=True)
for n in range(int(sys.argv[2])):
    ledger.append({"receipt": 2, "process": sys.argv[3], "n": n, "filler": "x" * 3000})
    if n < 100:
        print(n, flush=True)
"""


def appender(ledger, count, name):
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(ledger.folder), str(count), name], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    return process


def test_processes_may_append_at_once_and_each_keeps_its_order(ledger):
    processes = [appender(ledger, 100, name) for name in "abc"]
    for process in processes:
        assert process.wait(60) == 0
        process.stdout.close()
    assert (ledger.check().receipts, ledger.check().whole) == (300, True)
    for name in "abc":
        assert [e.receipt["n"] for e in ledger.entries() if e.receipt["process"] == name] == list(range(100))


def test_killed_while_appending_the_ledger_is_whole_but_for_its_end(ledger):
    for n in range(5):
        process = appender(ledger, 10**6, str(n))
        for _ in range(10 * n):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)  # it is appending the next one
        process.wait()
        process.stdout.close()
        ledger.append(receipt(n))  # the next start is clean
        assert ledger.check().whole
        assert ledger.check().torn_bytes == 0


@pytest.mark.parametrize("torn", [b"{", b'{"receipt":2,"n":9}', b"\0" * 100, b"x" * 200_000])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_torn_line_is_set_aside_by_name_and_said(tmp_path, torn, count):
    said = []
    filled(Ledger(tmp_path), count)
    with open(tmp_path / "receipts.jsonl", "ab") as file:
        file.write(torn)
    ledger = Ledger(tmp_path, say=said.append)
    before = ledger.check()
    assert (before.receipts, before.whole, before.torn_bytes) == (count, True, len(torn))
    ledger.append(receipt(count))
    checked = ledger.check()
    assert (checked.receipts, checked.whole, checked.torn_bytes) == (count + 1, True, 0)
    [aside] = checked.set_aside
    assert aside.read_bytes() == torn
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert len(said) == 1
    assert str(aside) in said[0]
    assert f"{len(torn)} bytes" in said[0]


def test_a_full_disk_loses_the_receipt_being_written_and_no_other(ledger, monkeypatch):
    filled(ledger)
    whole = ledger.path.read_bytes()
    room = [10]

    def write(file, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os_write(file, data[: room[0]])
        room[0] -= written
        return written

    os_write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(module.os, "write", write)
        with pytest.raises(LedgerError, match="No space left on device"):
            ledger.append(receipt(3))
    assert ledger.path.read_bytes() == whole
    ledger.append(receipt(3))
    assert (ledger.check().receipts, ledger.check().whole) == (4, True)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=r"file/receipts.*cannot be written \(Not a directory\)"):
        Ledger(tmp_path / "file" / "receipts").append(receipt(0))


@pytest.mark.parametrize(
    ("harm", "where"),
    [
        (lambda lines: [lines[0], lines[1].replace(b'"n":1', b'"n":7'), lines[2]], "line 3: it continues"),
        (lambda lines: [lines[0], lines[2]], "line 2: it continues"),
        (lambda lines: lines[1:], "line 1: it continues sha256:.*the beginning of the file is gone"),
        (lambda lines: [lines[0], lines[2], lines[1]], "line 2: it continues"),
        (lambda lines: [lines[0], b"nonsense", lines[2]], "line 2: not JSON"),
        (lambda lines: [lines[0], b"[]", lines[2]], "line 2: list, expected a JSON object"),
        (lambda lines: [*lines, b""], "line 4: not JSON"),
    ],
)
def test_a_broken_chain_is_reported_with_its_place(ledger, harm, where):
    filled(ledger)
    lines = harm(ledger.path.read_bytes().splitlines())
    ledger.path.write_bytes(b"".join(line + b"\n" for line in lines))
    checked = ledger.check()
    assert not checked.whole
    assert re.match(where, checked.problems[0]), checked.problems


def test_a_process_that_holds_the_ledger_is_not_waited_for_forever(ledger, monkeypatch):
    ledger.append(receipt(0))
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    with open(ledger.path) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LedgerError, match="another process has held it"):
            ledger.append(receipt(1))
    ledger.append(receipt(1))


def test_receipts_are_found_by_number_by_digest_and_as_the_last(ledger):
    kept = filled(ledger)
    digest = receipt_digest(kept[1])
    for name in ("2", digest, digest[7:], digest[7:27]):
        assert ledger.find(name).receipt == kept[1]
    assert ledger.find("last").receipt == kept[2]
    for name in ("0", "zzzz", "sha256:", "12345678901234567890"):
        with pytest.raises(LedgerError, match="finding a receipt"):
            ledger.find(name)


def test_contents_are_kept_only_if_asked_and_can_be_deleted_without_breaking_the_chain(tmp_path):
    Ledger(tmp_path).append(receipt(0), lambda: pytest.fail("nobody asked for contents"))
    ledger = Ledger(tmp_path, contents=True)
    digest = receipt_digest(ledger.append(receipt(1), lambda: {"prompt": [1, 2]}))
    assert ledger.contents(digest) == {"prompt": [1, 2], "receipt": digest}
    [file] = (tmp_path / "contents").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.unlink()
    assert ledger.contents(digest) is None
    assert ledger.check().whole
