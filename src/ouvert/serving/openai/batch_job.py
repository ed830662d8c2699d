"""The kind of job that answers a file of requests. docs/formats/jobs.md says what its records hold."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from ouvert.serving.callers import Caller, caller_of_job
from ouvert.serving.job_kinds import Work
from ouvert.serving.openai.batch_answers import ENDPOINTS, Asking, NoneAnswered
from ouvert.serving.openai.batch_lines import Bounds, Fault, Line, LinesRefused, read_body, read_lines
from ouvert.serving.openai.batch_outputs import Ended, KeptOutputs, Outputs, PathOutputs, as_result
from ouvert.serving.sentences import sentence_of
from ouvert.store import Job, NoSuchFile, OpenJob, Result, kept_until

BATCH = "batch"
URLS = tuple(ENDPOINTS)
WATCH_SECONDS = 0.25  # between looks at whether the batch is to end
REVOKED = Fault("key_revoked", "The key of this batch was revoked.")

Ending = Literal["finished", "cancelled", "expired", "failed"]


class Batches:
    """Answers the requests of a file, many at once, each once.

    Settings of its jobs: `input_file_id` (a kept file) or `input` (a path); `endpoint`, where all requests go to one;
    `model`, where one answers all of them; `seed`, see `Asking`; `output` and `errors`, paths, where a command asked;
    `output_seconds`, for which kept outputs are kept; `completion_window` and `metadata`, as the client stated them.
    """

    name = BATCH

    async def run(self, work: Work) -> Job:
        """As `JobKind.run`."""
        try:
            caller = caller_of_job(work.job.job.owner, work.service.keys)
            if caller is None:
                raise LinesRefused([REVOKED])
            path = input_path(work)
            lines = await asyncio.to_thread(readable_lines, path, bounds(work, caller))
            work.job.save(state="running", items=len(lines), times=work.job.job.at("started"))
            return await Run(work, path, lines, caller).whole()
        except LinesRefused as refused:
            return await asyncio.to_thread(fail, work, refused.faults)
        except NoSuchFile as problem:
            fault = Fault("input_file_missing", sentence_of(problem), param="input_file_id")
            return await asyncio.to_thread(fail, work, [fault])


class Run:
    """One go at a batch, to its end or until it is interrupted."""

    def __init__(self, work: Work, path: Path, lines: list[Line], caller: Caller) -> None:
        self._work, self._job, self._path, self._lines = work, work.job, path, lines
        self._outputs = outputs_of(work)
        self._asking = Asking(work.service, work.app, caller, str(self._job.job.settings["seed"]))
        self._totals = totals_of(self._job)
        # One thread records, so that results come one after the other and never in the event loop's time.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ouvert-results")

    async def whole(self) -> Job:
        """The job as it is when it is over. Raises what `JobKind.run` raises."""
        faults: list[Fault] = []
        try:
            await asyncio.to_thread(self._outputs.begin, self._job.results)
            self._work.told(self._job.job)
            try:
                ending = await self._answered()
            except NoneAnswered as problem:
                ending, faults = "failed", [Fault(str(problem.error.get("code")), str(problem))]
            return await asyncio.to_thread(self._finish, ending, faults)
        finally:
            self._writer.shutdown(wait=True)
            self._outputs.close()

    async def _answered(self) -> Ending:
        """Answer what is left until all is, or the batch is to end."""
        answering = asyncio.create_task(self._answer_all())
        watching = asyncio.create_task(self._to_end_early())
        try:
            await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
                return "finished"
            return watching.result()
        finally:
            answering.cancel()
            watching.cancel()
            await asyncio.gather(answering, watching, return_exceptions=True)
            # What was on its way into the record is there before the files are written from it.
            await asyncio.get_running_loop().run_in_executor(self._writer, lambda: None)

    async def _to_end_early(self) -> Ending:
        deadline = self._job.job.deadline
        while True:
            if self._job.cancel_asked:
                if "cancel" not in self._job.job.times:
                    self._job.save(times=self._job.job.at("cancel"))
                return "cancelled"
            if deadline is not None and time.time() >= deadline:
                return "expired"
            await asyncio.sleep(WATCH_SECONDS)

    async def _answer_all(self) -> None:
        left = [line for line in by_model(self._lines) if line.custom_id not in self._job.results]
        try:
            async with asyncio.TaskGroup() as group:
                for line in left:
                    await self._place()
                    task = group.create_task(self._answer(line))
                    task.add_done_callback(lambda _: self._work.places.give_back())
        except BaseExceptionGroup as problems:
            raise problems.exceptions[0] from None

    async def _place(self) -> None:
        """Returns with a place; without one where this batch was cancelled meanwhile."""
        await self._work.places.take()
        try:
            await asyncio.sleep(0)  # where a cancellation arrives that nothing waited for so far
        except asyncio.CancelledError:
            self._work.places.give_back()
            raise

    async def _answer(self, line: Line) -> None:
        body = await asyncio.to_thread(read_body, self._path, line)
        model = self._job.job.settings.get("model")
        response = await self._asking.answer(line.url, line.custom_id, body | ({"model": model} if model else {}))
        result = as_result(self._job.job.id, line, response)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._record, result)

    def _record(self, result: Result) -> None:
        self._job.results.append(result)
        self._outputs.add(result)
        count(self._totals, result)
        self._job.counted(self._totals)
        self._work.told(self._job.job)

    def _finish(self, ending: Ending, faults: Sequence[Fault]) -> Job:
        """Write the files, then the record that says so; the results are in the files by then."""
        job = self._job.save(times=self._job.job.at("finalizing"))
        outcome = self._outputs.finish(Ended(self._job, [line.custom_id for line in self._lines], ending))
        if faults:
            outcome["errors"] = [fault.as_json() for fault in faults]
        removal = kept_until(self._work.service.settings.job_keep)
        times = {**job.times, "ended": time.time()}
        job = self._job.save(state=ending, times=times, outcome=outcome, removal=removal)
        if job.runner == "server":
            self._job.drop_results()
        return job


def input_path(work: Work) -> Path:
    """The file of requests. Raises NoSuchFile."""
    settings = work.job.job.settings
    if "input_file_id" in settings:
        return work.service.files.content(settings["input_file_id"])
    return Path(settings["input"])


def readable_lines(path: Path, allowed: Bounds) -> list[Line]:
    """As `read_lines`, but a file that cannot be read is no batch either. Raises LinesRefused."""
    try:
        return read_lines(path, allowed)
    except OSError as problem:
        fault = Fault("input_file_missing", f"The file of requests cannot be read: {problem.strerror or problem}.")
        raise LinesRefused([fault]) from problem


def bounds(work: Work, caller: Caller) -> Bounds:
    settings, stated = work.service.settings, work.job.job.settings
    catalog = work.service.loaded_models.catalog
    known: set[str] = set()

    def check_model(name: str) -> None:
        if name not in known:
            catalog.find(name, caller.admits)
            known.add(name)

    return Bounds(
        urls=[stated["endpoint"]] if "endpoint" in stated else URLS,
        items=settings.job_items,
        line_bytes=settings.body_bytes,
        model=stated.get("model"),
        check_model=check_model,
    )


def outputs_of(work: Work) -> Outputs:
    settings = work.job.job.settings
    if "output" in settings:
        return PathOutputs(Path(settings["output"]), Path(settings["errors"]))
    return KeptOutputs(work.service.files, settings.get("output_seconds") or work.service.settings.job_keep)


def by_model(lines: list[Line]) -> list[Line]:
    """All requests of one model before those of the next, so that none is loaded twice."""
    order: dict[str, int] = {}
    return sorted(lines, key=lambda line: order.setdefault(line.model, len(order)))


def totals_of(job: OpenJob) -> dict[str, int]:
    totals: dict[str, int] = {}
    for result in job.results:
        count(totals, result)
    job.counted(totals)
    return totals


def count(totals: dict[str, int], result: Result) -> None:
    """Add a result to the counts: answers, errors, and tokens by the answer's own usage."""
    totals["answered" if result.ok else "failed"] = totals.get("answered" if result.ok else "failed", 0) + 1
    response = result.value.get("response") or {}
    usage = response.get("body", {}).get("usage") or {}
    for name, value in tokens_of(usage).items():
        totals[name] = totals.get(name, 0) + value


def tokens_of(usage: Mapping[str, Any]) -> dict[str, int]:
    """The tokens of an answer, from the usage of whichever endpoint."""
    read = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    written = usage.get("completion_tokens_details") or usage.get("output_tokens_details") or {}
    return {
        "input_tokens": usage.get("prompt_tokens", usage.get("input_tokens", 0)),
        "cached_tokens": read.get("cached_tokens", 0),
        "output_tokens": usage.get("completion_tokens", usage.get("output_tokens", 0)),
        "reasoning_tokens": written.get("reasoning_tokens", 0),
    }


def fail(work: Work, faults: Sequence[Fault]) -> Job:
    """End a job that cannot be done, or not any more: its model, its key or its file is gone since it was begun. What
    was answered until then stays."""
    job, outcome = work.job, {}
    if len(job.results):
        job.counted(totals_of(job))
        job.save(times=job.job.at("finalizing"))
        outcome = outputs_of(work).finish(Ended(job, [result.item for result in job.results], "failed"))
    outcome["errors"] = [fault.as_json() for fault in faults]
    times = {**job.job.times, "ended": time.time()}
    removal = kept_until(work.service.settings.job_keep)
    ended = job.save(state="failed", times=times, outcome=outcome, removal=removal)
    if ended.runner == "server":
        job.drop_results()
    return ended
