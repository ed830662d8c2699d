"""/ouvert/tune/jobs: made, looked at, followed, ended. Everything here is for the owner alone."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ouvert.serving import owned_jobs
from ouvert.serving.endpoints import Call, Endpoint, Handler
from ouvert.serving.errors import Refusal
from ouvert.serving.job_kinds import JobKind
from ouvert.serving.job_runner import runner_of
from ouvert.serving.service import Service
from ouvert.serving.streams import JSONAnswer, Streamed, sse
from ouvert.store import Job, JobError, NoSuchFile, new_job_id

TUNING = "tuning"
MOST_UNFINISHED = 20
LOOK_SECONDS = 0.3  # between looks for new rows, while somebody follows
MOST_ROWS = 20_000  # of metrics, in one answer


class TuningRequest(BaseModel):
    """`model`: a model that is here. `data`: the id of a file that was uploaded with the purpose "fine-tune", or
    "corrections" for the answers that the owner corrected. `name`: what the adapter is called. `recipe`: as
    docs/formats/recipe.md has it, a section for each object; rewards that are programs are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: Annotated[str, Field(min_length=1, max_length=200)]
    data: Annotated[str, Field(pattern=r"^(corrections|file-[0-9a-f]{8,64})$")]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    recipe: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Rows:
    """How far a run is: `rows` of metrics, `steps` it will have (None until it is planned), and what was found after it
    (None until it is over)."""

    rows: Sequence[Mapping[str, Any]]
    steps: int | None
    adapter: Mapping[str, Any] | None


class TuningKind(JobKind, Protocol):
    """Whoever trains."""

    def require_sound(self, service: Service, name: str, recipe: Mapping[str, Any]) -> None:
        """Raises ValueError for a recipe that cannot be used over HTTP, and for a name that is taken."""

    def rows(self, service: Service, job: Job) -> Rows:
        """What is known of its run. Reads files. Raises nothing."""


async def create(call: Call) -> Response:
    asked: TuningRequest = call.body
    kind = kind_of(call)
    word = word_of(call, asked.model)
    if asked.data != "corrections":
        await asyncio.to_thread(require_file, call, asked.data)
    runner = runner_of(call.request.app)
    async with runner.adding:  # of several that ask for one name at once, one gets it
        await require_room(call, asked.name)
        try:
            await asyncio.to_thread(kind.require_sound, call.service, asked.name, asked.recipe)
        except ValueError as problem:
            raise Refusal(400, str(problem), code="invalid_value") from problem
        settings = {**asked.model_dump(), "word": word}
        whose = call.caller.whose
        made = Job(id=new_job_id(TUNING), kind=TUNING, owner=whose, runner="server", settings=settings)
        job, _ = await asyncio.to_thread(call.service.jobs.add, made)
    runner.submit(job)
    return JSONAnswer(await asyncio.to_thread(facts_of, call, job), 202)


async def require_room(call: Call, name: str) -> None:
    """Raises Refusal 409 where a job that is not over trains that name, 429 where too many are not over."""
    unfinished = [job for job in await owned_jobs.jobs_of(call, TUNING) if not job.is_over]
    if any(job.settings["name"] == name for job in unfinished):
        raise Refusal(
            409, f"A job that is not over trains {name} already. Choose another name, or end that one.",
            code="name_taken", param="name",
        )  # fmt: skip
    if len(unfinished) >= MOST_UNFINISHED:
        sentence = f"{len(unfinished)} jobs are not over, and this server takes {MOST_UNFINISHED}. Wait."
        raise Refusal(429, sentence, code="too_many_jobs", retry_after=60)


def kind_of(call: Call) -> TuningKind:
    """Raises Refusal where this server trains nothing."""
    kinds = runner_of(call.request.app).kinds
    if TUNING not in kinds:
        raise Refusal(
            404, "This server trains nothing; `ouvert serve` does, where it computes itself.", code="not_offered"
        )
    return cast("TuningKind", kinds[TUNING])


def require_file(call: Call, file_id: str) -> None:
    """Raises Refusal 404 for a file that the caller does not have, 400 for one of another purpose."""
    try:
        file = call.service.files.get(file_id)
    except (NoSuchFile, JobError):
        file = None
    if file is None or file.owner != call.caller.whose:
        raise Refusal(404, f"There is no file {file_id} here.", code="file_not_found", param="data")
    if file.purpose != "fine-tune":
        raise Refusal(
            400, f"The file {file_id} has the purpose {file.purpose!r}, expected 'fine-tune'. Upload it with that.",
            code="invalid_value", param="data",
        )  # fmt: skip


def word_of(call: Call, name: str) -> str:
    """What the command calls the model of that name. Raises Refusal 404 for one that is not here."""
    named = call.service.loaded_models.catalog.find(name, call.caller.admits)
    if named.effort is not None:
        raise Refusal(400, f"{name}: an effort is no part of a model's weights. Leave it out.", param="model")
    installed = named.installed
    place = installed.name if installed.name in call.service.store.names() else str(installed.path)
    return f"{place}@{installed.precision}" if installed.precision is not None else place


def facts_of(call: Call, kept: Job, *, rows: bool = False) -> dict[str, Any]:
    """A job as clients see it. Reads its run."""
    job = runner_of(call.request.app).now(kept)
    found = kind_of(call).rows(call.service, job)
    cancelling = not job.is_over and call.service.jobs.cancel_asked(job.id)
    metrics = {"metrics": list(found.rows[-MOST_ROWS:])} if rows else {}
    return {
        "id": job.id,
        "object": "tune.job",
        "state": "cancelling" if cancelling else job.state,
        "asked": {name: value for name, value in job.settings.items() if name != "word"},
        "steps": {"done": steps_done(found.rows), "of": found.steps},
        "last": dict(found.rows[-1]) if found.rows else None,
        "times": dict(job.times),
        "removal": job.removal,
        "errors": list(job.outcome.get("errors", ())),
        "adapter": None if found.adapter is None else dict(found.adapter),
        **metrics,
    }


def steps_done(rows: Sequence[Mapping[str, Any]]) -> int:
    return max((int(row.get("step", 0)) for row in rows), default=0)


async def found(call: Call) -> Job:
    """Raises Refusal 404 where the caller has none of that id."""
    return await owned_jobs.found(call, TUNING, call.request.path_params["job_id"], "job")


async def every(call: Call) -> Response:
    jobs = await owned_jobs.jobs_of(call, TUNING)
    shown = await asyncio.to_thread(lambda: [facts_of(call, job) for job in jobs])
    return JSONAnswer({"object": "list", "data": shown})


async def one(call: Call) -> Response:
    job = await found(call)
    return JSONAnswer(await asyncio.to_thread(lambda: facts_of(call, job, rows=True)))


async def events(call: Call) -> Response:
    """Rows of metrics as they come, from the first, each an event `metrics`; at the end one `end` with the job."""
    job = await found(call)

    async def follow() -> AsyncIterator[bytes]:
        told = 0
        while True:
            over = (await asyncio.to_thread(call.service.jobs.get, job.id)).is_over
            rows = (await asyncio.to_thread(kind_of(call).rows, call.service, job)).rows
            for row in rows[told:]:
                yield sse(dict(row), "metrics")
            told = max(told, len(rows))
            if over:
                yield sse(await asyncio.to_thread(facts_of, call, await found(call)), "end")
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def nothing() -> None:
        return None

    return Streamed(follow(), nothing)


async def end(call: Call) -> Response:
    """One that is under way is stopped; what it has learnt so far stays, and `ouvert tune resume` goes on. One that is
    over is removed; its adapter stays."""
    job = await found(call)
    if job.is_over:
        await owned_jobs.removed(call, job)
        return JSONAnswer({"id": job.id, "object": "tune.job", "deleted": True})
    job = await asyncio.to_thread(call.service.jobs.cancel, job.id)
    if not job.is_over:
        runner_of(call.request.app).end_soon(job)
    return JSONAnswer(await asyncio.to_thread(facts_of, call, job))


def endpoint(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Endpoint:
    """For the owner alone."""
    return Endpoint(
        method=method, path=f"/ouvert/tune/jobs{path}", handler=handler, summary=summary, owners=True,
        versioned=False, both_ways=False, **more,
    )  # fmt: skip


ONE = "/{job_id}"
ENDPOINTS = (
    endpoint("POST", "", create, "Train an adapter in the background", body=TuningRequest),
    endpoint("GET", "", every, "Your jobs of training, the newest first"),
    endpoint("GET", ONE, one, "How far one is, with every row of its metrics"),
    endpoint("GET", f"{ONE}/events", events, "Its metrics as they come", answers="text/event-stream"),
    endpoint("DELETE", ONE, end, "Stop one that is under way; remove one that is over"),
)
