"""Jobs of one kind as their owner asks for them over HTTP: listed, found, removed."""

import asyncio

from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.sentences import sentence_of
from ouvert.store import Job, JobError, NoSuchJob


async def jobs_of(call: Call, kind: str) -> tuple[Job, ...]:
    """The caller's jobs of this kind, the newest first."""
    whose = call.caller.whose
    return (await asyncio.to_thread(lambda: call.service.jobs.every(owner=whose, kind=kind))).jobs


async def found(call: Call, kind: str, job_id: str, called: str) -> Job:
    """The caller's job of this kind and id. `called`: what such a job is called in errors and their codes. Raises
    Refusal 404 where the caller has none."""
    try:
        job = await asyncio.to_thread(call.service.jobs.get, job_id)
    except NoSuchJob:
        job = None
    except JobError as problem:
        raise Refusal(409, sentence_of(problem), code="job_unusable") from problem
    if job is None or job.kind != kind or job.owner != call.caller.whose:
        raise Refusal(404, f"There is no {called} {job_id!r:.100} here.", code=f"{called}_not_found")
    return job


async def removed(call: Call, job: Job) -> None:
    """Remove a job that is over, with its folder. Raises Refusal where it cannot be."""
    try:
        await asyncio.to_thread(call.service.jobs.remove, job.id)
    except JobError as problem:
        raise Refusal(409, sentence_of(problem), code="job_unusable") from problem
