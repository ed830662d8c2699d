"""`ouvert.tune`: teach a model from examples, in Python.

`tuning` trains and knows no engine; `assistant` answers and knows no training. They meet here, as in the command.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ouvert import assistant, tuning
from ouvert.engine import physical_cores
from ouvert.store import AdapterRecord, Installed, Store, default_home


def tune(
    model: str | Path,
    data: str | Path,
    *,
    name: str,
    recipe: tuning.Recipe | Mapping[str, Any] | str | Path | None = None,
    threads: int | None = None,
    progress: Callable[[Mapping[str, Any]], None] = lambda row: None,
    plan: Callable[[tuning.Plan], bool] = lambda plan: True,
    store: Store | None = None,
    **options: Any,
) -> AdapterRecord | None:
    """Train an adapter for `model` on the examples of a file, and keep it as `name`.

        ouvert.tune("smollm2", "tickets.jsonl", name="tickets", minutes=20)
        ouvert.load("smollm2+tickets")

    `recipe`: a TOML file, or what is in one (docs/formats/recipe.md); `options` win over it: `method`, `minutes`,
    `epochs`, `steps`, `length`, `rank`, `rate`, `batch`, `seed`, `beta`, `held_out`, `ignore`. `plan`
    sees the plan, and returns whether to go on: where it does not, nothing is trained and None is returned. `progress`
    gets each line of metrics. Killed, the same call goes on where it was, to the same bits. What comes of it is
    unchecked: `ouvert adapter test NAME` checks it.

    Raises TuningError for data, a recipe or a model that cannot be used, for an unfinished run of that name from other
    data or another recipe, and where torch is missing; StoreError for a model that is not here and a name that is
    taken; TypeError for an option that there is not.
    """
    store = store or Store(default_home())
    installed = store.resolve(str(model))
    whole = tuning.with_options(read(recipe), options)
    runs = tuning.Runs(store.home)
    seen = runs.look(name) if name in runs.names() else None
    if seen is not None and not whole.data.date:  # that of the day on which it began
        whole = tuning.with_options(whole, {"date": seen.recipe.data.date})
    with assistant.packed_of(store, installed) as packed:
        base = tuning.open_base(
            installed.path, threads=threads or physical_cores(), name=installed.name, packed=packed,
            precision=assistant.precision_of(installed, None),
        )  # fmt: skip
    try:
        path = Path(data).absolute()
        prepared = tuning.prepare(base, tuning.settled(whole, base, path), path)
        way = tuning.way_of(prepared.recipe)
        if seen is not None:
            tuning.require_same_run(seen, prepared)
        elif not begun(base, prepared, way, runs, name, plan, facts_of(installed)):
            return None
        with runs.open(name) as run:
            if not run.trained:
                learner = tuning.learner_of(base, run.recipe, run.adapter)
                tuning.train(run, learner, way, tuning.Manners(told=progress))
                learner.close()
            record = kept(run, installed.address, store, threads)
    finally:
        base.close()
    runs.remove(name)
    return record


def begun(
    base: tuning.Base,
    prepared: tuning.Prepared,
    way: tuning.Way,
    runs: tuning.Runs,
    name: str,
    plan: Callable[[tuning.Plan], bool],
    facts: Mapping[str, Any],
) -> bool:
    """The run is there; False where the plan was not agreed to."""
    learner = tuning.learner_of(base, prepared.recipe, prepared.adapter)
    try:
        planned = tuning.plan_of(prepared, learner, way)
    finally:
        learner.close()
    if not plan(planned):
        return False
    runs.add(name, tuning.begun(base, prepared, planned, facts))
    return True


def facts_of(installed: Installed) -> dict[str, Any]:
    """What the command needs to go on with the run. Raises nothing."""
    computing = {"exact": False, "cache": None, "precision": None, "template": None}
    return {"model": installed.address, "computing": computing, "licence": installed.licence}


def kept(run: tuning.OpenRun, model: str, store: Store, threads: int | None) -> AdapterRecord:
    """The adapter in the store, from a run of which no step is left."""
    adapter = run.answer
    if run.name in store.adapters.names() and store.adapters.record(run.name).digest == adapter.digest:
        return store.adapters.record(run.name)
    with assistant.load(model, store=store, threads=threads, receipts=False, prefixes=False) as answering:
        source = tuning.source_of(run)
        return answering.adapters.keep(run.name, adapter, source, beside=partial(tuning.write_beside, run))


def read(recipe: tuning.Recipe | Mapping[str, Any] | str | Path | None) -> tuning.Recipe:
    """What is meant by `recipe`. Raises TuningError."""
    match recipe:
        case None:
            return tuning.Recipe()
        case tuning.Recipe():
            return recipe
        case str() | Path():
            return tuning.read_recipe(Path(recipe))
    return tuning.Recipe.of(recipe)
