"""All jobs of this user: one folder each. Safe to use from several threads and processes."""

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from ouvert.store.jobs.error import JobBusy, JobError, NoSuchJob
from ouvert.store.jobs.job import ID, Job, read_job, write_job
from ouvert.store.jobs.private_files import WRITING, make_private_folder, sync_folder
from ouvert.store.jobs.results import RESULTS, Counts, Result, Results, read_results

LOCK = "lock"
PATIENCE = 0.5  # seconds; whoever only looks whether a job is worked on holds its lock for microseconds
CANCEL = "cancel"
GOING = ".writing-gone-"


def new_job_id(kind: str) -> str:
    """An id that nothing else has. Raises nothing."""
    return f"{kind}_{secrets.token_hex(16)}"


@dataclass(frozen=True, slots=True)
class Listed:
    """`jobs`: the newest first. `damaged`: a sentence for each job that cannot be read."""

    jobs: tuple[Job, ...]
    damaged: tuple[str, ...]


class JobStore:
    """The jobs below one folder. Making one reads and creates nothing, and raises nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # of the jobs, one folder each
        self._counts: dict[tuple[str, float], Counts] = {}  # of results that were read: files of them only grow

    def add(self, job: Job) -> tuple[Job, bool]:
        """Keep a new job; (the job, whether it is new). If there is one of that id it is left and handed back.

        Raises JobError if that one cannot be read, and OSError if nothing can be written.
        """
        place = self._place(job.id)
        make_private_folder(self.folder)
        beside = self.folder / f"{WRITING}{secrets.token_hex(8)}"
        beside.mkdir(mode=0o700)
        kept = replace(job, times=job.at("created"))
        try:
            write_job(beside, kept)
            os.rename(beside, place)  # refused where there is a job: a folder that is not empty
        except OSError:
            shutil.rmtree(beside, ignore_errors=True)
            if place.exists():
                return self.get(job.id), False
            raise
        sync_folder(self.folder)
        return kept, True

    def get(self, job_id: str) -> Job:
        """The job as it is now: `paused` if it is running by its record and nobody works on it, and counted anew while
        it is not over. Raises NoSuchJob, and JobError for one that cannot be read."""
        place = self._place(job_id)
        job = read_job(place)
        if job.is_over:
            return job
        if job.state == "running" and not self._is_held(place):
            job = replace(read_job(place), state="paused")
        if job.is_over:
            return job
        key = (job_id, job.created)  # an id may be used again, when its job was removed
        counts = self._counts[key] = self._counts.get(key, Counts()).up_to_now(place / RESULTS)
        return replace(job, answered=counts.ok, failed=counts.failed)

    def every(self, *, owner: str | None = None, kind: str | None = None) -> Listed:
        """All jobs, or those of an owner or a kind. Raises OSError."""
        jobs, damaged = [], []
        for place in self.folder.glob("*_*"):
            try:
                job = read_job(place)
                if owner in (None, job.owner) and kind in (None, job.kind):
                    jobs.append(job if job.is_over else self.get(job.id))
            except NoSuchJob:
                continue  # removed while we were listing
            except JobError as problem:
                damaged.append(str(problem))
        return Listed(tuple(sorted(jobs, key=lambda job: (job.created, job.id), reverse=True)), tuple(damaged))

    def open(self, job_id: str) -> "OpenJob":
        """The job, for the one process that works on it. Raises NoSuchJob, JobBusy, JobError and OSError."""
        place = self._place(job_id)
        read_job(place)
        lock = lock_of(place)
        try:
            lock.acquire(timeout=PATIENCE, poll_interval=0.01)
        except Timeout:
            raise JobBusy(
                f"opening the job {job_id}: another process is working on it, expected none. Wait for it "
                f"(`ouvert jobs show {job_id}` says how far it is), or end that process."
            ) from None
        try:
            return OpenJob(place, lock)
        except BaseException:
            lock.release()
            raise

    def cancel(self, job_id: str) -> Job:
        """Ask whoever works on the job to end it; where nobody does, it is cancelled now. One that is over is left.

        Raises NoSuchJob, JobError and OSError.
        """
        place = self._place(job_id)
        if not read_job(place).is_over:
            os.close(os.open(place / CANCEL, os.O_WRONLY | os.O_CREAT, 0o600))
            if not self._is_held(place):
                self._end_now(job_id)
        return self.get(job_id)

    def _end_now(self, job_id: str) -> None:
        """Record that a job which nobody works on is cancelled; a server has more to write about its own."""
        with contextlib.suppress(JobBusy), self.open(job_id) as job:
            if not job.job.is_over and job.job.runner == "command":
                job.save(state="cancelled", times={**job.job.at("cancel"), "ended": time.time()})

    def cancel_asked(self, job_id: str) -> bool:
        """Whether somebody asked for its end. Raises nothing."""
        return (self._place(job_id) / CANCEL).exists()

    def remove(self, job_id: str) -> None:
        """Remove a job with its results; also one that cannot be read. Raises NoSuchJob, JobBusy and OSError."""
        place = self._place(job_id)
        if not place.is_dir():
            read_job(place)
        gone = self.folder / f"{GOING}{secrets.token_hex(8)}"
        lock = lock_of(place)
        try:
            with lock.acquire(timeout=PATIENCE, poll_interval=0.01):
                os.rename(place, gone)  # at once, so that nobody finds half a job
        except Timeout:
            raise JobBusy(
                f"removing the job {job_id}: a process is working on it, expected none. `ouvert jobs cancel {job_id}` "
                "ends it; then remove it."
            ) from None
        shutil.rmtree(gone)

    def sweep(self, now: float) -> list[str]:
        """Remove the jobs whose time has come; their ids. Raises nothing: what cannot be removed stays for later."""
        gone = []
        for job in self.every().jobs:
            if job.removal is not None and job.removal < now and job.state != "running":
                with contextlib.suppress(OSError, JobError):
                    self.remove(job.id)
                    gone.append(job.id)
        return gone

    def results(self, job_id: str) -> Iterator[Result]:
        """What is recorded of it so far. Raises JobError, and OSError."""
        return read_results(self._place(job_id) / RESULTS)

    def _place(self, job_id: str) -> Path:
        if not ID.fullmatch(job_id):
            raise NoSuchJob(f"There is no job {job_id!r:.100} here. `ouvert jobs` lists those that are.")
        return self.folder / job_id

    def _is_held(self, place: Path) -> bool:
        """Whether a process works on it."""
        if not (place / LOCK).exists():
            return False
        lock = lock_of(place)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False


def lock_of(place: Path) -> FileLock:
    return FileLock(place / LOCK, mode=0o600, thread_local=False)


class OpenJob:
    """A job while this process works on it; a context. `JobStore.open` makes it.

    Its results are read once, when it is opened, and appended by one thread at a time.
    """

    def __init__(self, place: Path, lock: FileLock) -> None:
        """Raises JobError and OSError."""
        self.job = read_job(place)  # read again: who held the lock before may have written it
        self.results = Results(place / RESULTS)
        self._place, self._lock = place, lock
        self._changing = threading.Lock()  # the record: results are counted in another thread than it is saved in

    @property
    def cancel_asked(self) -> bool:
        """Whether somebody asked for its end, in this process or another. Raises nothing."""
        return (self._place / CANCEL).exists()

    def begin_again(self, **changes: Any) -> Job:
        """Take up a job that ended before everything was done: what is recorded stays. Raises OSError."""
        (self._place / CANCEL).unlink(missing_ok=True)
        times = {name: self.job.times[name] for name in ("created", "started") if name in self.job.times}
        return self.save(**{"state": "queued", "times": times, "outcome": {}, "removal": None, **changes})

    def save(self, **changes: Any) -> Job:
        """Write the record with these fields changed. Raises OSError; it is then as it was before."""
        with self._changing:
            changed = replace(self.job, **changes)
            write_job(self._place, changed)
            self.job = changed
        return changed

    def counted(self, totals: Mapping[str, int]) -> None:
        """Note these counts of the results; they are written with the record's next `save`. Raises nothing."""
        answered, failed = totals.get("answered", 0), totals.get("failed", 0)
        with self._changing:
            self.job = replace(self.job, totals=dict(totals), answered=answered, failed=failed)

    def drop_results(self) -> None:
        """Remove the lines: what they said is kept elsewhere by now. Raises OSError."""
        (self._place / RESULTS).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it. Raises nothing; may be called once."""
        self.results.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
