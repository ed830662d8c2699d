"""The kind of job that compares models: `ouvert compare` in a process of its own, beside the server that was asked."""

import asyncio
import shutil
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ouvert.cli.served_process import SAID, last_words, started, stopped, watched
from ouvert.serving import COMPARISON, Work, comparison_folder
from ouvert.store import Job, OpenJob, Result, kept_until

LEAST_MEMORY = 1 << 20


class Comparisons:
    """Settings of its jobs: as `/ouvert/comparisons` was asked, and `words`, the models as the command takes them."""

    name = COMPARISON

    def require_known(self, purposes: Sequence[str], suites: Sequence[str]) -> None:
        """Raises ValueError for a purpose that there is not, and for a suite that there is not or that takes a path."""
        from ouvert.evaluation import PURPOSES, EvaluationError, open_suite

        if wrong := next((each for each in purposes if each not in PURPOSES), None):
            raise ValueError(f"for has {wrong!r:.40}, expected words among {', '.join(PURPOSES)}.")
        for each in suites:
            try:
                open_suite(each)
            except EvaluationError as problem:
                raise ValueError(f"suites: {problem}") from problem

    async def run(self, work: Work) -> Job:
        """As `JobKind.run`. A process that is cancelled with it has ended when this returns."""
        job, folder = work.job, comparison_folder(work.service, work.job.job.id)
        if job.cancel_asked:
            return ended(work, "cancelled")
        words = await asyncio.to_thread(words_for, work, folder)
        job.save(state="running", times=job.job.at("started"))
        process = await started(work, "compare", words, folder.parent / SAID)
        try:
            await watched(process, job, lambda: count(job, folder))
        finally:
            await stopped(process)
        await asyncio.to_thread(count, job, folder)
        if process.returncode == 0:
            return ended(work, "finished")
        if job.cancel_asked:
            return ended(work, "cancelled")
        return ended(work, "failed", last_words(folder.parent / SAID, process.returncode, "the comparison"))


def words_for(work: Work, folder: Path) -> list[str]:
    """Of the command. What was begun goes on; before a plan was written nothing was."""
    asked, settings = work.job.job.settings, work.service.settings
    computing = ["--json"]
    if settings.load_options.get("threads") is not None:
        computing += ["--threads", str(settings.load_options["threads"])]
    if settings.memory is not None:
        loaded = sum(each.bytes for each in work.service.loaded_models.loaded())
        computing += ["--memory", str(max(LEAST_MEMORY, settings.memory - loaded))]
    if (folder / "plan.toml").exists():
        return ["resume", str(folder), *computing]
    shutil.rmtree(folder, ignore_errors=True)
    listed = {"--for": "for", "--suites": "suites", "--lang": "languages", "--effort": "effort"}
    lists = [word for option, name in listed.items() if asked.get(name) for word in (option, ",".join(asked[name]))]
    numbers = ["--time", f"{asked['seconds']}s", "--seed", str(asked["seed"])]
    damage = ["--damage"] if asked.get("damage") else []
    return [*asked["words"], "--out", str(folder), *lists, *numbers, *damage, *computing]


def count(job: OpenJob, folder: Path) -> None:
    """Note how many answers there are, of how many. One result each, so that other processes can count them too."""
    with suppress(OSError):
        every = answers_of(tomllib.loads((folder / "plan.toml").read_text(encoding="utf-8")))
        done = (folder / "answers.jsonl").read_bytes().count(b"\n") - 1  # the first line names the plan
        for number in range(len(job.results), min(done, every)):  # one that was timed again stands there twice
            job.results.append(Result(item=str(number), ok=True, value={}))
        if job.job.items != every:
            job.save(items=every)
        job.counted({"answered": len(job.results)})


def answers_of(plan: Mapping[str, Any]) -> int:
    """How many answers a plan asks for."""
    return len(plan["contestants"]) * sum(int(row["count"]) * int(row.get("samples", 1)) for row in plan["rows"])


def ended(work: Work, state: str, fault: str = "") -> Job:
    times = {**work.job.job.times, "ended": time.time()}
    outcome = {"folder": str(comparison_folder(work.service, work.job.job.id))}
    errors = {"errors": [{"code": "comparison_failed", "message": fault}]} if fault else {}
    removal = kept_until(work.service.settings.job_keep)
    return work.job.save(state=state, times=times, outcome={**outcome, **errors}, removal=removal)
