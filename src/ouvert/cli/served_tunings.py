"""The kind of job that trains adapters: `ouvert tune` in a process of its own, beside the server that was asked."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ouvert.cli.served_process import done, ended
from ouvert.serving import TUNING, Rows, Service, Work
from ouvert.store import Adapters, Job, StoreError

RECIPE = "recipe.toml"  # in the job's folder


class Tunings:
    """Settings of its jobs: as `/ouvert/tune/jobs` was asked, and `word`, the model as the command takes it."""

    name = TUNING

    def require_sound(self, service: Service, name: str, recipe: Mapping[str, Any]) -> None:
        """Raises ValueError for a recipe that cannot be used over HTTP, and for a name that is taken."""
        from ouvert.tuning import Recipe, Runs, TuningError, judges_of

        if name in Adapters(service.store.home).names() or name in Runs(service.store.home).names():
            raise ValueError(f"name: there is an adapter or an unfinished run {name!r} already. Choose another.")
        try:
            made = Recipe.of(recipe)
            if made.method == "grpo":
                judges_of(made.reward.use, owns_files=False)
        except TuningError as problem:
            raise ValueError(str(problem)) from problem
        for said, what in (
            (made.model, "model"),
            (made.data.train, "data.train"),
            (made.data.held_out, "data.held_out"),
        ):
            if isinstance(said, str) and said:
                raise ValueError(f"the recipe's {what} is {said!r:.80}: over HTTP a recipe names no model and no file.")

    def rows(self, service: Service, job: Job) -> Rows:
        """What is known of its run. Raises nothing."""
        from ouvert.tuning import Runs, TuningError, rows_in

        name, home = str(job.settings["name"]), service.store.home
        with suppress(TuningError):
            seen = Runs(home).look(name)
            return Rows(seen.rows, seen.course.steps, None)
        with suppress(StoreError, OSError):
            record = Adapters(home).record(name)
            rows = list(rows_in(record.path / "run" / "metrics.jsonl"))
            about = {"name": name, "digest": record.digest, "state": record.state, "check": record.facts.get("check")}
            return Rows(rows, max((int(row.get("step", 0)) for row in rows), default=0), about)
        return Rows((), None, None)

    async def run(self, work: Work) -> Job:
        """As `JobKind.run`. A process that is cancelled with it has ended when this returns."""

        def how_far() -> tuple[int, int | None]:
            found = self.rows(work.service, work.job.job)
            return max((int(row.get("step", 0)) for row in found.rows), default=0), found.steps

        state, fault = await done(work, "tune", words_for, how_far, "the training")
        return ended(work, state, {"adapter": str(work.job.job.settings["name"])}, "tuning_failed", fault)


def words_for(work: Work, folder: Path) -> list[str]:
    """Of the command. What was begun goes on."""
    from ouvert.tuning import Recipe, Runs

    asked = work.job.job.settings
    name, computing = str(asked["name"]), ["--json"]
    if work.service.settings.load_options.get("threads") is not None:
        computing += ["--threads", str(work.service.settings.load_options["threads"])]
    if name in Runs(work.service.store.home).names():
        return ["resume", name, *computing]
    recipe = folder / RECIPE
    recipe.write_text(Recipe.of(asked["recipe"]).toml, encoding="utf-8")
    return [asked["word"], data_of(work, folder), "--name", name, "--recipe", str(recipe), "--yes", *computing]


def data_of(work: Work, folder: Path) -> str:
    """What the command reads: the owner's corrections, or the uploaded file under its own ending, which says its
    form."""
    data = str(work.job.job.settings["data"])
    if data == "corrections":
        return data
    kept = work.service.files.get(data)
    ending = Path(kept.name).suffix.lower()
    place = folder / f"data{ending if ending in ('.jsonl', '.json', '.csv', '.parquet') else '.jsonl'}"
    place.unlink(missing_ok=True)
    os.link(work.service.files.content(data), place)
    return str(place)
