"""The jobs of a server: each is done in the background, and taken up again after a restart."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from starlette.applications import Starlette

from ouvert.serving.job_kinds import JobKind, Places, Work
from ouvert.serving.service import Service
from ouvert.store import Job, JobBusy, JobError, NoSuchJob, OpenJob

LOG = logging.getLogger("ouvert.serving")

AGAIN_SECONDS = 30.0  # until a job is tried again that a full disk or another process held up
SWEEP_SECONDS = 3600.0  # between looks for what may be removed


class JobRunner:
    """Does the jobs that programs gave to this server. Belongs to one event loop.

    An owner's jobs are done one after the other, those of several owners side by side.
    """

    def __init__(self, service: Service, app: Starlette, kinds: Iterable[JobKind]) -> None:
        self.kinds = {kind.name: kind for kind in kinds}
        self.places = Places(service.answers, service.settings.job_places)
        self._service, self._app = service, app
        self.adding = asyncio.Lock()  # held by whoever looks at the jobs there are, and adds one that depends on them
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by owner
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._open: dict[str, OpenJob] = {}
        self._watch: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Take up what an earlier server left, and sweep from now on. Without kinds there is nothing to do."""
        if self.kinds:
            self._watch = asyncio.create_task(self._take_up_and_sweep())

    def submit(self, job: Job) -> None:
        """Do this job when it is its turn. Nothing happens where it has been submitted already."""
        if job.id not in self._tasks:
            task = self._tasks[job.id] = asyncio.create_task(self._run(job))
            task.add_done_callback(self._forget)

    def end_soon(self, job: Job) -> None:
        """Let a job that is to be cancelled end at once, though it may not be its turn yet."""
        if job.id in self._open:
            return  # it looks for itself
        if (waiting := self._tasks.pop(job.id, None)) is not None:
            waiting.cancel()
        task = self._tasks[job.id] = asyncio.create_task(self._run_now(job))
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        for job_id in [each for each, running in self._tasks.items() if running is task]:
            del self._tasks[job_id]

    def now(self, job: Job) -> Job:
        """The job as it is while it is being done here; else as given."""
        return self._open[job.id].job if job.id in self._open else job

    def is_open(self, job_id: str) -> bool:
        """Whether it is being done here."""
        return job_id in self._open

    async def pause(self) -> None:
        """Stop all jobs where they are; the next server takes them up. May be called twice."""
        tasks = [*self._tasks.values(), *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_up_and_sweep(self) -> None:
        listed = await asyncio.to_thread(self._service.jobs.every)
        for sentence in listed.damaged:
            LOG.error("%s", sentence)
        for job in reversed(listed.jobs):  # the oldest first
            if job.runner == "server" and not job.is_over:
                self.submit(job)
        while True:
            await asyncio.to_thread(sweep, self._service)
            await asyncio.sleep(SWEEP_SECONDS)

    async def _run(self, job: Job) -> None:
        async with self._turns[job.owner]:
            await self._run_now(job)

    async def _run_now(self, job: Job) -> None:
        while True:
            try:
                await self._do(job.id)
            except NoSuchJob:
                return  # removed meanwhile
            except (OSError, JobBusy) as problem:
                LOG.error("The job %s is held up, and tried again in %g s: %s", job.id, AGAIN_SECONDS, problem)
                await asyncio.sleep(AGAIN_SECONDS)
            except JobError as problem:
                LOG.error("%s", problem)
                return
            else:
                return

    async def _do(self, job_id: str) -> None:
        opened = await asyncio.to_thread(self._service.jobs.open, job_id)
        with opened:
            kind = self.kinds.get(opened.job.kind)
            if opened.job.is_over:
                return
            if kind is None:
                LOG.error("The job %s is of the kind %s, which this server does not do.", job_id, opened.job.kind)
                return
            self._open[job_id] = opened
            try:
                await kind.run(Work(job=opened, service=self._service, app=self._app, places=self.places))
            except (OSError, JobError):
                raise
            except Exception:
                LOG.exception("the job %s", job_id)
                fault = {"code": "internal", "message": "Something went wrong here, and the server's log says what."}
                times = {**opened.job.times, "ended": time.time()}
                opened.save(state="failed", times=times, outcome={**opened.job.outcome, "errors": [fault]})
            finally:
                del self._open[job_id]


def sweep(service: Service) -> None:
    """Remove the jobs and files whose time has come. What cannot be removed stays for the next time."""
    now = time.time()
    with suppress(OSError):
        service.jobs.sweep(now)
        in_use = frozenset(
            str(job.settings.get("input_file_id")) for job in service.jobs.every().jobs if not job.is_over
        )
        service.files.sweep(now, in_use)


def runner_of(app: Starlette) -> JobRunner:
    """The server's; `app` makes and ends it. Raises nothing."""
    runner: JobRunner = app.state.jobs
    return runner
