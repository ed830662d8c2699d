"""The one store of jobs: what a killed writer, a full disk, a second process or a stranger leaves of it."""

import errno
import json
import os
import stat
import time

import pytest

from ouvert.store import (
    Job,
    JobBusy,
    JobError,
    JobStore,
    KeptFile,
    KeptFiles,
    NoSuchFile,
    NoSuchJob,
    Result,
    new_file_id,
    new_job_id,
    sweep_strays,
)


def a_job(**fields):
    return Job(**{"id": new_job_id("batch"), "kind": "batch", "owner": "", "runner": "command", **fields})


def a_file(**fields):
    stated = {"id": new_file_id(), "owner": "", "name": "requests.jsonl", "purpose": "batch", "bytes": 0}
    return KeptFile(**{**stated, "created": time.time(), **fields})


@pytest.fixture
def store(tmp_path):
    return JobStore(tmp_path / "jobs")


@pytest.fixture
def files(tmp_path):
    return KeptFiles(tmp_path / "files")


@pytest.fixture
def job(store):
    return store.add(a_job())[0]


def results_path(store, job):
    return store.folder / job.id / "results.jsonl"


def record(store, job, *items):
    with store.open(job.id) as opened:
        for item in items:
            opened.results.append(Result(item, True, {"text": item}))


# --- one job ----------------------------------------------------------------------------------------------------------


def test_what_is_recorded_is_there_for_the_next_process(store, job):
    record(store, job, "a", "b")
    with store.open(job.id) as opened:
        assert [result.item for result in opened.results] == ["a", "b"]
        assert "a" in opened.results
        assert opened.results.of("b").value == {"text": "b"}


def test_an_item_is_recorded_once(store, job):
    with store.open(job.id) as opened:
        opened.results.append(Result("a", True, {}))
        with pytest.raises(ValueError, match="each item once"):
            opened.results.append(Result("a", False, {}))


@pytest.mark.parametrize("torn", [b'{"item":"b","ok":tr', b"\0\0\0\0", b"\xff"])
def test_a_line_that_a_killed_writer_left_torn_is_cut_off_and_its_item_is_not_done(store, job, torn):
    record(store, job, "a")
    with results_path(store, job).open("ab") as file:
        file.write(torn)
    assert [result.item for result in store.results(job.id)] == ["a"]
    record(store, job, "b")
    assert [json.loads(line)["item"] for line in results_path(store, job).read_bytes().splitlines()] == ["a", "b"]


def test_a_full_disk_leaves_the_results_as_they_were(store, job, monkeypatch):
    record(store, job, "a")
    before = results_path(store, job).read_bytes()
    write = os.write
    with store.open(job.id) as opened:

        def full(file, data):
            if len(data) > 8:
                return write(file, bytes(data)[:8])  # what was left
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(OSError, match="No space"):
                opened.results.append(Result("b", True, {"text": "b"}))
        assert results_path(store, job).read_bytes() == before
        assert "b" not in opened.results
        opened.results.append(Result("b", True, {"text": "b"}))
    assert [result.item for result in store.results(job.id)] == ["a", "b"]


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b'{"item":"a","ok":true,"value":{}}\n'])
def test_a_damaged_or_doubled_line_is_an_error_that_names_it(store, job, line):
    record(store, job, "a")
    with results_path(store, job).open("ab") as file:
        file.write(line)
    with pytest.raises(JobError, match=r"line 2 of .*results\.jsonl.*ouvert jobs rm"):
        store.open(job.id)
    store.remove(job.id)


def test_a_running_job_that_nobody_works_on_is_paused(store, job):
    with store.open(job.id) as opened:
        opened.save(state="running", items=3)
        opened.results.append(Result("a", True, {}))
        opened.results.append(Result("b", False, {}))
        assert store.get(job.id).state == "running"
    found = store.get(job.id)
    assert (found.state, found.answered, found.failed, found.items) == ("paused", 1, 1, 3)


def test_progress_is_counted_from_where_the_last_look_ended(store, job):
    with store.open(job.id) as opened:
        opened.save(state="running")
        for n in range(3):
            opened.results.append(Result(f"{n}", n != 1, {}))
            found = store.get(job.id)
            assert (found.answered, found.failed) == ((1, 0), (1, 1), (2, 1))[n]
    store.remove(job.id)
    again, _ = store.add(a_job(id=job.id))
    record(store, again, "one")
    assert store.get(job.id).answered == 1


def test_only_one_process_works_on_a_job(store, job):
    with store.open(job.id):
        with pytest.raises(JobBusy, match="another process is working on it"):
            JobStore(store.folder).open(job.id)
        with pytest.raises(JobBusy, match="ouvert jobs cancel"):
            store.remove(job.id)
    store.open(job.id).close()


def test_a_job_is_made_once(store, job):
    again, is_new = store.add(a_job(id=job.id, kind="another"))
    assert not is_new
    assert again == job


def test_cancelling_asks_whoever_works_on_it_and_ends_what_nobody_works_on(store, job):
    with store.open(job.id) as opened:
        opened.save(state="running")
        assert not opened.cancel_asked
        assert store.cancel(job.id).state == "running"
        assert opened.cancel_asked
    assert store.cancel(job.id).state == "cancelled"
    with store.open(job.id) as opened:
        opened.begin_again()
        assert not opened.cancel_asked


def test_a_record_that_cannot_be_written_leaves_the_one_before(store, job, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with store.open(job.id) as opened:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space"):
                opened.save(state="failed")
        assert opened.job.state == "queued"
    assert store.get(job.id).state == "queued"
    assert not list((store.folder / job.id).glob(".writing-*"))


# --- all jobs ---------------------------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first_and_by_whose_they_are(store):
    for n, owner in enumerate(("", "key:a", "")):
        store.add(a_job(owner=owner, times={"created": float(n)}))
    assert [job.created for job in store.every().jobs] == [2.0, 1.0, 0.0]
    assert [job.created for job in store.every(owner="key:a").jobs] == [1.0]
    assert store.every(kind="tuning").jobs == ()


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version":2}',
        b'{"version":1,"id":"batch_00000000","kind":5,"owner":"","runner":"command"}',
    ],
)
def test_a_damaged_record_is_named_and_hides_no_other(store, job, record):
    place = store.folder / "batch_00000000"
    place.mkdir()
    (place / "job.json").write_bytes(record)
    listed = store.every()
    assert listed.jobs == (job,)
    assert "batch_00000000" in listed.damaged[0]
    store.remove("batch_00000000")
    assert store.every().damaged == ()


def test_what_is_over_long_enough_is_removed_and_nothing_else(store):
    old, _ = store.add(a_job(state="finished", removal=10.0))
    young, _ = store.add(a_job(state="finished", removal=30.0))
    for_good, _ = store.add(a_job(state="finished"))
    assert store.sweep(20.0) == [old.id]
    assert {job.id for job in store.every().jobs} == {young.id, for_good.id}


@pytest.mark.parametrize(
    "name", ["", "..", "../models", "batch_", "batch_zz", "/etc/passwd", "batch_0000\0", "x" * 999]
)
def test_no_id_leads_out_of_the_folders(store, files, name):
    for ask in (store.get, store.open, store.remove, store.cancel):
        with pytest.raises(NoSuchJob):
            ask(name)
    for ask in (files.get, files.content, files.remove):
        with pytest.raises(NoSuchFile):
            ask(name)


def test_everything_is_for_its_owner_alone(store, files, job):
    record(store, job, "a")
    store.cancel(job.id)
    with files.arriving() as arriving:
        arriving.write(b"text")
        arriving.keep(a_file())
    for folder in (store.folder, files.folder):
        for path in (folder, *folder.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_link_in_the_place_of_results_is_refused(store, job, tmp_path):
    (tmp_path / "other").write_text("")
    results_path(store, job).symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="a link stands where a file should"):
        store.open(job.id)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../.ssh/authorized_keys", "/etc/passwd", "con", "\u202egpj.exe", "é" * 200])
def test_a_files_name_is_a_text_and_no_path(files, name):
    with files.arriving() as arriving:
        arriving.write(b"text")
        kept = arriving.keep(a_file(name=name))
    assert files.get(kept.id).name == name
    assert kept.bytes == 4
    assert [path.name for path in files.folder.iterdir()] == [kept.id]
    assert sorted(path.name for path in files.folder.rglob("*")) == sorted([kept.id, "content", "file.json"])


def test_a_file_that_was_not_kept_leaves_nothing(files):
    with files.arriving() as arriving:
        arriving.write(b"text")
    assert list(files.folder.iterdir()) == []


def test_a_written_file_replaces_the_one_of_its_id(files):
    file = a_file()
    files.write(file, [b"first"])
    files.write(file, [b"second", b" part"])
    assert files.content(file.id).read_bytes() == b"second part"
    assert files.get(file.id).bytes == 11


def test_files_go_when_their_time_has_come_unless_a_job_reads_them(files):
    for removal in (10.0, 10.0, 30.0, None):
        files.write(a_file(removal=removal), [b""])
    used, gone = (file.id for file in files.every() if file.removal == 10.0)
    assert files.sweep(20.0, frozenset({used})) == [gone]
    assert len(files.every()) == 3


def test_what_killed_writers_left_is_swept_after_a_day(store, files, tmp_path, job):
    for path in (store.folder / ".writing-x", store.folder / job.id / ".writing-y", files.folder / ".writing-z"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        os.utime(path, (1, 1))
    sweep_strays(tmp_path)
    assert not list(tmp_path.rglob(".writing-*"))
