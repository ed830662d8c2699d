"""/v1/batches: files of requests, answered in the background; each caller has its own.

https://platform.openai.com/docs/api-reference/batch
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from starlette.responses import Response

from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.job_runner import runner_of
from ouvert.serving.openai.batch_answers import ENDPOINTS as ANSWERED
from ouvert.serving.openai.batch_job import BATCH
from ouvert.serving.openai.files import LONGEST_KEPT, SHORTEST_KEPT, found_file
from ouvert.serving.openai.pages import page_of
from ouvert.serving.sentences import sentence_of
from ouvert.serving.streams import JSONAnswer
from ouvert.serving.wire import Wire
from ouvert.store import Job, JobError, KeptFile, NoSuchJob, new_job_id

WINDOW = re.compile(r"([1-9]\d{0,3})([hd])")
HOURS = {"h": 1, "d": 24}
MOST_UNFINISHED = 100  # batches of one caller
LONGEST_KEY = 255
# The state of a job -> OpenAI's word for it.
STATUSES = {
    "queued": "validating",
    "running": "in_progress",
    "paused": "in_progress",
    "finished": "completed",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "cancelled",
}


class ExpiresAfter(Wire):
    anchor: Literal["created_at"]
    seconds: int = Field(ge=SHORTEST_KEPT, le=LONGEST_KEPT)


class BatchRequest(Wire):
    refused: ClassVar[Mapping[str, str]] = {}

    input_file_id: str = Field(min_length=1, max_length=128)
    endpoint: str = Field(max_length=128)
    completion_window: str = Field(max_length=16)
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None
    output_expires_after: ExpiresAfter | None = None


def as_batch(call: Call, kept: Job) -> dict[str, Any]:
    """The job as OpenAI shows a batch. Raises nothing."""
    job = runner_of(call.request.app).now(kept)
    settings, outcome = job.settings, job.outcome
    times = {name: int(value) for name, value in job.times.items()}
    ended = {state: times.get("ended") if job.state == state else None for state in STATUSES}
    faults = outcome.get("errors") if job.state == "failed" else None
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": settings["endpoint"],
        "model": settings.get("shown_model"),
        "errors": {"object": "list", "data": faults} if faults else None,
        "input_file_id": settings["input_file_id"],
        "completion_window": settings["completion_window"],
        "status": status_of(call, job),
        "output_file_id": outcome.get("output_file_id"),
        "error_file_id": outcome.get("error_file_id"),
        "created_at": times.get("created", 0),
        "in_progress_at": times.get("started"),
        "expires_at": None if job.deadline is None else int(job.deadline),
        "finalizing_at": times.get("finalizing"),
        "completed_at": ended["finished"],
        "failed_at": ended["failed"],
        "expired_at": ended["expired"],
        "cancelling_at": times.get("cancel"),
        "cancelled_at": ended["cancelled"],
        "request_counts": {"total": job.items or 0, "completed": job.answered, "failed": job.failed},
        "usage": usage_of(job.totals),
        "metadata": settings.get("metadata"),
    }


def status_of(call: Call, job: Job) -> str:
    """OpenAI's word for what is the case."""
    if not job.is_over and ("cancel" in job.times or call.service.jobs.cancel_asked(job.id)):
        return "cancelling"
    return "finalizing" if not job.is_over and "finalizing" in job.times else STATUSES[job.state]


def usage_of(totals: Mapping[str, int]) -> dict[str, Any]:
    read, written = totals.get("input_tokens", 0), totals.get("output_tokens", 0)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": totals.get("cached_tokens", 0)},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": totals.get("reasoning_tokens", 0)},
        "total_tokens": read + written,
    }


async def create_batch(call: Call) -> Response:
    request: BatchRequest = call.body
    runner, whose = runner_of(call.request.app), call.caller.whose
    if BATCH not in runner.kinds:
        raise Refusal(404, "This server does no batches.", code="not_offered")
    if request.endpoint not in ANSWERED:
        sentence = f"endpoint is {request.endpoint!r:.100}, expected {' or '.join(ANSWERED)}."
        raise Refusal(400, sentence, code="invalid_value", param="endpoint")
    file = await asyncio.to_thread(found_file, call, request.input_file_id, "input_file_id")
    if file.purpose != BATCH:
        sentence = f"input_file_id: {file.id} was made for {file.purpose!r}, expected a file uploaded for 'batch'."
        raise Refusal(400, sentence, code="invalid_value", param="input_file_id")
    unfinished = [
        job
        for job in (await asyncio.to_thread(lambda: call.service.jobs.every(owner=whose))).jobs
        if not job.is_over and job.runner == "server"
    ]
    if len(unfinished) >= MOST_UNFINISHED:
        sentence = f"{len(unfinished)} of your batches are not over, and this server takes {MOST_UNFINISHED}. Wait."
        raise Refusal(429, sentence, code="too_many_batches", retry_after=60)
    job, is_new = await asyncio.to_thread(call.service.jobs.add, new_batch(call, request, file))
    if job.owner != whose or not same_request(job, request):
        sentence = "This Idempotency-Key was used for another batch. Send a new one."
        raise Refusal(409, sentence, code="idempotency_key_reused", param="idempotency-key")
    if is_new:
        runner.submit(job)
    return JSONAnswer({**as_batch(call, job), **request.beside})


def new_batch(call: Call, request: BatchRequest, file: KeptFile) -> Job:
    """The job of a request. With an Idempotency-Key the same caller's same key is always the same job."""
    whose = call.caller.whose
    settings: dict[str, Any] = {
        "input_file_id": request.input_file_id,
        "endpoint": request.endpoint,
        "completion_window": request.completion_window,
        "metadata": request.metadata,
        "seed": file.digest,
    }
    if request.output_expires_after is not None:
        settings["output_seconds"] = request.output_expires_after.seconds
    key = call.request.headers.get("idempotency-key", "")
    if len(key) > LONGEST_KEY:
        raise Refusal(400, f"Idempotency-Key has more than {LONGEST_KEY} characters.", code="invalid_value")
    digest = hashlib.sha256(f"{whose}\n{key}".encode("utf-8", "replace")).hexdigest()
    return Job(
        id=f"{BATCH}_{digest[:32]}" if key else new_job_id(BATCH),
        kind=BATCH,
        owner=whose,
        runner="server",
        deadline=time.time() + window_seconds(request.completion_window),
        settings=settings,
    )


def same_request(job: Job, request: BatchRequest) -> bool:
    settings = job.settings
    return (settings["input_file_id"], settings["endpoint"]) == (request.input_file_id, request.endpoint)


def window_seconds(window: str) -> float:
    """Raises Refusal."""
    found = WINDOW.fullmatch(window)
    if found is None:
        sentence = f"completion_window is {window!r:.40}, expected hours or days, such as '24h' or '7d'."
        raise Refusal(400, sentence, code="invalid_value", param="completion_window")
    return int(found[1]) * HOURS[found[2]] * 3600.0


def found_batch(call: Call) -> Job:
    """Raises Refusal 404 where the caller has none of that id."""
    job_id = call.request.path_params["batch_id"]
    try:
        job = call.service.jobs.get(job_id)
    except NoSuchJob:
        job = None
    if job is None or not is_shown(call, job):
        raise Refusal(404, f"There is no batch {job_id!r:.100} here.", code="batch_not_found")
    return job


def is_shown(call: Call, job: Job) -> bool:
    """Whether it is a batch of this caller that was made over HTTP."""
    return job.kind == BATCH and job.owner == call.caller.whose and job.runner == "server"


async def get_batch(call: Call) -> Response:
    return JSONAnswer(as_batch(call, await asyncio.to_thread(found_batch, call)))


async def cancel_batch(call: Call) -> Response:
    job = await asyncio.to_thread(found_batch, call)
    if job.is_over:
        raise Refusal(409, f"{job.id} is {STATUSES[job.state]} already.", code="batch_over", param="batch_id")
    try:
        job = await asyncio.to_thread(call.service.jobs.cancel, job.id)
    except JobError as problem:
        raise Refusal(409, sentence_of(problem), code="job_unusable") from problem
    if not job.is_over:
        runner_of(call.request.app).end_soon(job)
    return JSONAnswer(as_batch(call, job))


async def list_batches(call: Call) -> Response:
    listed = await asyncio.to_thread(lambda: call.service.jobs.every(owner=call.caller.whose, kind=BATCH))
    shown = [as_batch(call, job) for job in listed.jobs if is_shown(call, job)]
    return JSONAnswer(page_of(shown, call.request.query_params, default=20, most=100))


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/batches",
        handler=create_batch,
        summary="Answer a file of requests in the background",
        body=BatchRequest,
        private=True,
    ),
    Endpoint(method="GET", path="/batches", handler=list_batches, summary="Your batches", private=True),
    Endpoint(method="GET", path="/batches/{batch_id}", handler=get_batch, summary="How far a batch is", private=True),
    Endpoint(
        method="POST",
        path="/batches/{batch_id}/cancel",
        handler=cancel_batch,
        summary="End a batch; what is answered stays",
        private=True,
    ),
)
