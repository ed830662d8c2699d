"""The kind of job that compares models: `ouvert compare` in a process of its own, beside the server that was asked."""

import shutil
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ouvert.cli.served_process import done, ended
from ouvert.serving import COMPARISON, Work, comparison_folder
from ouvert.store import Job

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
        folder = comparison_folder(work.service, work.job.job.id)
        state, fault = await done(work, "compare", words_for, lambda: how_far(folder), "the comparison")
        return ended(work, state, {"folder": str(folder)}, "comparison_failed", fault)


def words_for(work: Work, place: Path) -> list[str]:
    """Of the command. What was begun goes on; before a plan was written nothing was."""
    folder = comparison_folder(work.service, place.name)
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


def how_far(folder: Path) -> tuple[int, int | None]:
    """How many answers there are, of how many; an answer that was timed again stands there twice."""
    try:
        every = answers_of(tomllib.loads((folder / "plan.toml").read_text(encoding="utf-8")))
        return (folder / "answers.jsonl").read_bytes().count(b"\n") - 1, every  # the first line names the plan
    except OSError:
        return 0, None


def answers_of(plan: Mapping[str, Any]) -> int:
    """How many answers a plan asks for."""
    return len(plan["contestants"]) * sum(int(row["count"]) * int(row.get("samples", 1)) for row in plan["rows"])
