"""A file of requests, answered by the models of this machine in this process: what `ouvert batch` does."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from ouvert.serving.catalog import Catalog
from ouvert.serving.errors import Refusal
from ouvert.serving.job_kinds import Places, Work
from ouvert.serving.openai.batch_job import BATCH, URLS, Batches
from ouvert.serving.openai.batch_lines import Bounds, Line, LinesRefused, read_lines
from ouvert.serving.openai.batch_outputs import Ended, PathOutputs
from ouvert.serving.openai.response_store import ResponseStore
from ouvert.serving.service import Service
from ouvert.serving.settings import Settings
from ouvert.store import SILENCE, Job, JobError, JobStore, OpenJob, Progress, Store, default_home, open_regular

MOST_ITEMS = 10_000_000
SHOWN_FAULTS = 10
VERSION = 1  # of what makes two batches the same
STEP = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How a batch is answered. `model` answers every request, whatever model it names; None: the one that it names.

    `output`, `errors`: where answers and errors are written; None: beside the requests (`requests.output.jsonl`,
    `requests.errors.jsonl`). `overwrite`: files there that this batch did not write may be replaced. `parallel`:
    requests that are answered at once. `keep`: seconds for which the finished job is kept, None for good. `load`:
    options of `load`.
    """

    model: str | None = None
    output: Path | None = None
    errors: Path | None = None
    overwrite: bool = False
    parallel: int = 16
    keep: float | None = 30 * 86400.0
    load: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutcome:
    """A batch that is over. `output` has the answers, `errors` what could not be answered (None: nothing), a JSON
    object a line each, in the order of the requests."""

    job: Job
    output: Path
    errors: Path | None

    def answers(self) -> Iterator[dict[str, Any]]:
        """The lines of `output`. Raises OSError."""
        with self.output.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def batch(
    requests: Path | str,
    model: str | None = None,
    *,
    output: Path | str | None = None,
    errors: Path | str | None = None,
    overwrite: bool = False,
    parallel: int = 16,
    store: Store | None = None,
    told: Callable[[Job], None] = lambda job: None,
    **load_options: Any,
) -> BatchOutcome:
    """Answer a file of requests: OpenAI's batch format, a JSON object a line. docs/guides/batches.md is the guide.

    The same file, models and options are the same job: interrupted, however that came, it goes on at the first request
    without an answer, and when it is done it is not done again. Parameters: as in `BatchOptions`; `store`: the owner's
    unless given; `told` is called with the job when it begins and after each answer; `load_options` go to `load`.

    Raises JobError for requests that are no batch, for files in the way, while another process answers the same batch,
    and where nothing can be written (what is recorded stays); StoreError for a model that is not here.
    """
    options = BatchOptions(
        model=model,
        output=None if output is None else Path(output),
        errors=None if errors is None else Path(errors),
        overwrite=overwrite,
        parallel=parallel,
        load=load_options,
    )
    return run_batch(Path(requests), options, store or Store(default_home()), told)


def run_batch(
    requests: Path, options: BatchOptions, store: Store, told: Callable[[Job], None], progress: Progress = SILENCE
) -> BatchOutcome:
    """As `batch`. `progress` shows the loading of models. Raises what `batch` raises."""
    jobs = JobStore(store.home / "jobs")
    planned = plan(requests.absolute(), options, store)
    kept, is_new = jobs.add(planned.job)
    try:
        require_free(kept if not is_new else None, planned.job, options)
    except JobError:
        if is_new:
            jobs.remove(planned.job.id)
        raise
    try:
        with jobs.open(planned.job.id) as opened:
            if opened.job.state == "finished":
                rewrite(opened, planned)
            else:
                opened.begin_again(settings=planned.job.settings)
                in_a_loop(lambda: answer(opened, options, store, told, progress))
            return outcome_of(opened.job)
    except OSError as problem:
        raise JobError(
            f"answering {requests}: {problem.filename or jobs.folder} cannot be written "
            f"({problem.strerror or problem}). What is recorded stays. Make room, or correct the rights; the same "
            "command goes on from there."
        ) from problem


@dataclass(frozen=True, slots=True)
class Planned:
    """The job that a file of requests is."""

    job: Job
    lines: Sequence[Line]


def plan(requests: Path, options: BatchOptions, store: Store) -> Planned:
    """Raises JobError, StoreError and OSError."""
    named = () if options.model is None else (options.model,)
    catalog = Catalog(store, named, only_named=bool(named))
    model = None if options.model is None else store.resolve(options.model).called
    lines = checked_lines(requests, model, catalog)
    digests = {}
    for name in dict.fromkeys(line.model for line in lines):
        installed = catalog.find(name).installed
        adapters = [store.adapters.record(each).digest for each in installed.adapters]
        digests[name] = "+".join((installed.digest or str(Path(installed.path).resolve()), *adapters))
    changing = {name: options.load.get(name) for name in ("exact", "cache", "context", "template", "precision")}
    digest = digest_of(requests)
    identity = json.dumps([VERSION, digest, digests, changing], sort_keys=True, default=str)
    output = (options.output or requests.with_name(f"{requests.stem}.output.jsonl")).absolute()
    errors = (options.errors or output.with_name(f"{requests.stem}.errors.jsonl")).absolute()
    if len({requests.resolve(), output.resolve(), errors.resolve()}) < 3:
        raise JobError(f"answering {requests}: requests, output and errors are the same file, expected three.")
    job = Job(
        id=f"{BATCH}_{hashlib.sha256(identity.encode()).hexdigest()[:32]}",
        kind=BATCH,
        owner="",
        runner="command",
        items=len(lines),
        settings={
            "input": str(requests),
            "seed": digest,
            "output": str(output),
            "errors": str(errors),
            "models": digests,
            **({} if model is None else {"model": model}),
        },
    )
    return Planned(job, lines)


def checked_lines(requests: Path, model: str | None, catalog: Catalog) -> list[Line]:
    """Raises JobError that names the lines which are no requests, and OSError."""
    bounds = Bounds(
        urls=URLS,
        items=MOST_ITEMS,
        line_bytes=Settings().body_bytes,
        model=model,
        check_model=catalog.find,
    )
    try:
        return read_lines(requests, bounds)
    except OSError as problem:
        raise JobError(
            f"answering {requests}: it cannot be read ({problem.strerror or problem}), expected a file with a request "
            "on each line. Name another, or correct its rights."
        ) from problem
    except LinesRefused as refused:
        shown = "\n".join(f"  {fault}" for fault in refused.faults[:SHOWN_FAULTS])
        more = len(refused.faults) - SHOWN_FAULTS
        raise JobError(
            f"answering {requests}: it is no batch, and nothing was begun:\n{shown}"
            + (f"\n  and {more} more." if more > 0 else "")
            + "\nCorrect these lines; docs/guides/batches.md says what a request looks like."
        ) from None


def digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(open_regular(path, follow=True), "rb") as file:
        while piece := file.read(STEP):
            digest.update(piece)
    return digest.hexdigest()


def require_free(kept: Job | None, planned: Job, options: BatchOptions) -> None:
    """Raises JobError where a file is in the way that this job did not write."""
    for name in ("output", "errors"):
        path = planned.settings[name]
        ours = kept is not None and kept.settings.get(name) == path
        if not ours and not options.overwrite and Path(path).exists():
            raise JobError(
                f"answering {planned.settings['input']}: {path} is there already, and another batch or program wrote "
                f"it. Move it away, name another file (--{name} FILE), or replace it (--overwrite)."
            )


def rewrite(opened: OpenJob, planned: Planned) -> None:
    """Write the files of a finished job anew: they may be gone, or be wanted elsewhere."""
    settings = planned.job.settings
    outputs = PathOutputs(Path(settings["output"]), Path(settings["errors"]))
    opened.save(
        settings=settings, outcome=outputs.finish(Ended(opened, [line.custom_id for line in planned.lines], "finished"))
    )


async def answer(
    opened: OpenJob, options: BatchOptions, store: Store, told: Callable[[Job], None], progress: Progress
) -> None:
    """Do what is left of the job. Raises JobError where it cannot be done."""
    settings = Settings(
        models=() if options.model is None else (options.model,),
        only_these=options.model is not None,
        load_options=options.load,
        load_wait=float("inf"),
        most_answers=max(2 * options.parallel, 256),
        job_places=options.parallel,
        job_items=MOST_ITEMS,
        job_keep=options.keep,
    )
    async with service_alone(settings, store, progress) as (app, service):
        try:
            (await service.loaded_models.lend(next(iter(opened.job.settings["models"])))).give_back()
        except Refusal as refusal:
            raise JobError(refusal.message) from None
        places = Places(service.answers, options.parallel)
        job = await Batches().run(Work(job=opened, service=service, app=app, places=places, told=told))
    if job.state == "failed":
        raise JobError("; ".join(str(each["message"]) for each in job.outcome["errors"]))


@asynccontextmanager
async def service_alone(
    settings: Settings, store: Store, progress: Progress
) -> AsyncIterator[tuple[Starlette, Service]]:
    """What a server has to answer requests with, without a socket and without its jobs. Raises StoreError."""
    app, service = Starlette(), Service(settings, store, progress)
    app.state.responses = ResponseStore(settings.stored_responses)
    watch = asyncio.create_task(service.loaded_models.watch())
    try:
        yield app, service
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await app.state.responses.close()
        await service.close()


def in_a_loop(work: Callable[[], Any]) -> None:
    """Run `work` in an event loop of its own, also where this thread has one (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work())
    else:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(work())).result()


def outcome_of(job: Job) -> BatchOutcome:
    errors = job.outcome.get("errors")
    return BatchOutcome(
        job=job, output=Path(job.settings["output"]), errors=Path(errors) if isinstance(errors, str) else None
    )


def facts_of(outcome: BatchOutcome) -> dict[str, Any]:
    """The outcome as one JSON object. Raises nothing."""
    job = asdict(outcome.job)
    return {
        "job": job["id"],
        "state": job["state"],
        "items": job["items"],
        "answered": job["answered"],
        "failed": job["failed"],
        "output": str(outcome.output),
        "errors": None if outcome.errors is None else str(outcome.errors),
        "tokens": {name: value for name, value in job["totals"].items() if name.endswith("_tokens")},
    }
