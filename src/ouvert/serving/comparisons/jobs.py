"""/ouvert/comparisons: comparisons that the owner asks this server for, as jobs. Who computes them is registered."""

import asyncio
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, cast

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ouvert.serving import owned_jobs
from ouvert.serving.endpoints import Call, Endpoint, Handler
from ouvert.serving.errors import Refusal
from ouvert.serving.job_kinds import JobKind
from ouvert.serving.job_runner import runner_of
from ouvert.serving.service import Service
from ouvert.serving.streams import JSONAnswer
from ouvert.store import Job, new_job_id

COMPARISON = "comparison"
MOST_UNFINISHED = 20
MOST_MODELS = 16
LONGEST_SECONDS = 7 * 24 * 3600
REPORT = "report.html"
# What a comparison's folder has beside its page: only these can be asked for, so no address is a path.
FILES = {
    "plan.toml": "text/plain; charset=utf-8",
    "answers.jsonl": "application/x-ndjson",
    "scores.jsonl": "application/x-ndjson",
    "speed.jsonl": "application/x-ndjson",
    "damage.jsonl": "application/x-ndjson",
    "report.md": "text/markdown; charset=utf-8",
    "report.ipynb": "application/x-ipynb+json",
    "data.csv": "text/csv; charset=utf-8",
    "LICENCES.md": "text/markdown; charset=utf-8",
    "manifest.json": "application/json",
}
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
# The page has words that models wrote: no scripts, nothing from elsewhere, in an origin of its own.
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]


class ComparisonRequest(BaseModel):
    """`models`: names of models that are here, with a precision or an effort behind where wanted; the rest as the
    options of `ouvert compare`, `seconds` as its --time."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    models: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=200)]], Field(min_length=1, max_length=MOST_MODELS)
    ]
    purposes: Annotated[list[Word], Field(alias="for", max_length=20)] = []
    suites: Annotated[list[Word], Field(max_length=40)] = []
    languages: Annotated[list[Literal["en", "fr"]], Field(min_length=1, max_length=2)] = ["en"]
    effort: Annotated[list[Literal["low", "medium", "high"]], Field(max_length=3)] = []
    seconds: Annotated[int, Field(ge=1, le=LONGEST_SECONDS, strict=True)] = 600
    seed: Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)] = 1
    damage: Annotated[bool, Field(strict=True)] = False


class ComparisonKind(JobKind, Protocol):
    """Whoever compares."""

    def require_known(self, purposes: Sequence[str], suites: Sequence[str]) -> None:
        """Raises ValueError for those that there are not, and for a suite that takes a path. Takes its time."""


def comparison_folder(service: Service, job_id: str) -> Path:
    """Where a job's comparison is kept: docs/formats/comparison.md. Raises nothing."""
    return service.jobs.folder / job_id / "comparison"


async def create(call: Call) -> Response:
    asked: ComparisonRequest = call.body
    runner = runner_of(call.request.app)
    if COMPARISON not in runner.kinds:
        raise Refusal(
            404, "This server compares nothing; `ouvert serve` does, where it computes itself.", code="not_offered"
        )
    words = [word_of(call, name) for name in asked.models]
    await asyncio.to_thread(require_sound, asked, cast("ComparisonKind", runner.kinds[COMPARISON]))
    unfinished = [job for job in await owned_jobs.jobs_of(call, COMPARISON) if not job.is_over]
    if len(unfinished) >= MOST_UNFINISHED:
        sentence = f"{len(unfinished)} comparisons are not over, and this server takes {MOST_UNFINISHED}. Wait."
        raise Refusal(429, sentence, code="too_many_comparisons", retry_after=60)
    settings = {**asked.model_dump(by_alias=True), "words": words}
    whose = call.caller.whose
    made = Job(id=new_job_id(COMPARISON), kind=COMPARISON, owner=whose, runner="server", settings=settings)
    job, _ = await asyncio.to_thread(call.service.jobs.add, made)
    runner.submit(job)
    return JSONAnswer(await asyncio.to_thread(facts_of, call, job), 202)


def require_sound(asked: ComparisonRequest, kind: ComparisonKind) -> None:
    """Raises Refusal for a list that names something twice, and for what there is not."""
    lists: dict[str, Sequence[str]] = {
        "for": asked.purposes, "suites": asked.suites, "languages": asked.languages, "effort": asked.effort,
    }  # fmt: skip
    for name, each in lists.items():
        if len(set(each)) < len(each):
            raise Refusal(400, f"{name} names something twice, expected each once.", code="invalid_value", param=name)
    try:
        kind.require_known(asked.purposes, asked.suites)
    except ValueError as problem:
        raise Refusal(400, str(problem), code="invalid_value") from problem


def word_of(call: Call, name: str) -> str:
    """What the command calls the model of that name. Raises Refusal 404 for one that is not here: a path, a file of
    prompts and a model of another server are none."""
    named = call.service.loaded_models.catalog.find(name, call.caller.admits)
    installed = named.installed
    in_store = installed.name in call.service.store.names()
    place = installed.name if in_store else str(installed.path)
    asked = installed.called.removeprefix(installed.name)  # precision and adapters
    return f"{place}{asked}{f':{named.effort}' if named.effort else ''}"


def facts_of(call: Call, kept: Job) -> dict[str, Any]:
    """A comparison as clients see it. Reads its plan."""
    job = runner_of(call.request.app).now(kept)
    cancelling = not job.is_over and call.service.jobs.cancel_asked(job.id)
    folder = comparison_folder(call.service, job.id)
    return {
        "id": job.id,
        "object": "comparison.job",
        "state": "cancelling" if cancelling else job.state,
        "asked": {name: value for name, value in job.settings.items() if name != "words"},
        "answers": {"done": job.answered, "of": job.items},
        "times": dict(job.times),
        "removal": job.removal,
        "errors": list(job.outcome.get("errors", ())),
        "plan": plan_of(folder / "plan.toml"),
        "files": [name for name in (REPORT, *FILES) if (folder / name).is_file()],
    }


def plan_of(path: Path) -> Mapping[str, Any] | None:
    """What a client wants to know of it; None until there is one."""
    try:
        plan = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    shown = ("row", "count", "samples", "primary", "purposes", "visible", "seconds")
    return {
        "contestants": [each["label"] for each in plan["contestants"]],
        "rows": [{name: row[name] for name in shown if name in row} for row in plan["rows"]],
        "foreseen_seconds": plan.get("foreseen_seconds"),
    }


async def found(call: Call) -> Job:
    """Raises Refusal 404 where the caller has none of that id."""
    return await owned_jobs.found(call, COMPARISON, call.request.path_params["comparison_id"], "comparison")


async def every(call: Call) -> Response:
    jobs = await owned_jobs.jobs_of(call, COMPARISON)
    shown = await asyncio.to_thread(lambda: [facts_of(call, job) for job in jobs])
    return JSONAnswer({"object": "list", "data": shown})


async def one(call: Call) -> Response:
    job = await found(call)
    return JSONAnswer(await asyncio.to_thread(facts_of, call, job))


async def cancel(call: Call) -> Response:
    job = await found(call)
    if job.is_over:
        raise Refusal(409, f"{job.id} is {job.state} already.", code="comparison_over")
    job = await asyncio.to_thread(call.service.jobs.cancel, job.id)
    if not job.is_over:
        runner_of(call.request.app).end_soon(job)
    return JSONAnswer(await asyncio.to_thread(facts_of, call, job))


async def remove(call: Call) -> Response:
    job = await found(call)
    if not job.is_over:
        sentence = f"{job.id} is {job.state}, expected one that is over. Cancel it first."
        raise Refusal(409, sentence, code="comparison_not_over")
    await owned_jobs.removed(call, job)
    return JSONAnswer({"id": job.id, "object": "comparison.job", "deleted": True})


async def report(call: Call) -> Response:
    return await file_answer(call, REPORT, {"content-security-policy": PAGE_POLICY}, "text/html; charset=utf-8")


async def file(call: Call) -> Response:
    name = call.request.path_params["name"]
    if name not in FILES:
        raise Refusal(404, f"A comparison has no file {name!r:.100}; it has {', '.join(FILES)}.", code="not_found")
    return await file_answer(call, name, {"content-disposition": f'attachment; filename="{name}"'}, FILES[name])


async def file_answer(call: Call, name: str, headers: Mapping[str, str], kind: str) -> Response:
    """Raises Refusal 404 for one that is not written yet."""
    job = await found(call)
    try:
        content = await asyncio.to_thread((comparison_folder(call.service, job.id) / name).read_bytes)
    except FileNotFoundError:
        why = "it is not written yet" if not job.is_over else "nothing of this comparison wrote it"
        raise Refusal(404, f"{job.id} has no {name}: {why}; the comparison is {job.state}.", code="not_found") from None
    return Response(content, headers={**HEADERS, **headers}, media_type=kind)


def endpoint(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Endpoint:
    """For the owner alone."""
    return Endpoint(
        method=method, path=f"/ouvert/comparisons{path}", handler=handler, summary=summary, owners=True,
        versioned=False, both_ways=False, **more,
    )  # fmt: skip


ONE = "/{comparison_id}"
ENDPOINTS = (
    endpoint("POST", "", create, "Compare models in the background", body=ComparisonRequest),
    endpoint("GET", "", every, "Your comparisons, the newest first"),
    endpoint("GET", ONE, one, "How far a comparison is, and its plan"),
    endpoint("POST", f"{ONE}/cancel", cancel, "End a comparison; what is answered stays"),
    endpoint("DELETE", ONE, remove, "Remove a comparison that is over, with all its files"),
    endpoint("GET", f"{ONE}/report", report, "Its report, as a page", answers="text/html"),
    endpoint(
        "GET", ONE + "/files/{name}", file, "One of its files, as docs/formats/comparison.md has them",
        answers="application/octet-stream",
    ),
)  # fmt: skip
