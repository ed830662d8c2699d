"""`ouvert tune MODEL DATA`: the plan, its owner's yes, and a run that begins."""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.cli.environment import open_store
from ouvert.cli.tuning_base import computing_of, open_base_of, require_torch
from ouvert.cli.tuning_data import CORRECTIONS, data_file, recipe_of
from ouvert.cli.tuning_sampler import EngineSampler, model_that_answers
from ouvert.cli.tuning_thoughts import thoughts_by

if TYPE_CHECKING:
    from ouvert.assistant import Model
    from ouvert.store import Installed, Store
    from ouvert.tuning import Base, Plan, Prepared, Recipe


def begin(args: argparse.Namespace) -> int:
    """0: the adapter is there, or the plan was shown. 1: its owner did not agree. 130: stopped; `resume` goes on."""
    from ouvert.cli.tuning_run import go_on

    name = begun_run(args)  # by itself: what planning has opened is let go of before the steps open it again
    return go_on(name, args) if name is not None else 0 if args.plan else 1


def begun_run(args: argparse.Namespace) -> str | None:
    """The name of the run that its owner agreed to; None where nothing is to be trained."""
    from ouvert.tuning import Runs, begun, settled

    require_torch()
    model, data = args.named
    recipe, store = recipe_of(args), open_store()
    installed = store.resolve(model)
    refuse_variant(installed)
    runs = Runs(store.home)
    name = args.name or free_name(data, store, runs)
    if not args.plan:
        require_free(name, store, runs)
        say_what_else_runs(runs)
    computing = computing_of(args)
    with ExitStack() as held:
        path = data_file(data, store, Path(held.enter_context(tempfile.TemporaryDirectory()))).absolute()
        base = open_base_of(store, installed, args.threads, computing)
        held.callback(base.close)
        answering = cache(
            lambda: held.enter_context(model_that_answers(store, installed.address, args.threads, computing))
        )
        agreed = agreed_plan(args, base, settled(recipe, base, path), path, name, answering)
        if agreed is None:
            return None
        prepared, plan = agreed
        facts = {"model": installed.address, "computing": computing, "licence": installed.licence}
        runs.add(name, begun(base, prepared, plan, facts))
        return name


def agreed_plan(
    args: argparse.Namespace, base: "Base", recipe: "Recipe", path: Path, name: str, answering: "Callable[[], Model]"
) -> "tuple[Prepared, Plan] | None":
    """What its owner agreed to; None where nothing is to be trained. `answering` gives the model that answers: for
    rewards, for thoughts that the data leaves out, and for how long the check will take."""
    from ouvert.cli.tuning_plan import agreed, in_words
    from ouvert.engine import memory_bytes
    from ouvert.evaluation import check_seconds
    from ouvert.tuning import prepare

    prepared = prepare(base, recipe, path)
    plan = planned(base, prepared, answering)
    checking = check_seconds(answering()) if recipe.safety.check else None
    words = in_words(plan, base.name, name, memory=memory_bytes(), checking=checking)
    if args.plan:
        print(json.dumps({"name": name, **plan.mapping, "check_seconds": checking}) if args.json else words)
        return None
    if not agreed(words, yes=args.yes):
        return None
    if plan.counts.unthought:
        think = thoughts_by(answering(), seed=recipe.seed, length=recipe.data.length, progress=say_how_many_thoughts)
        prepared = prepare(base, recipe, path, think)
        plan = planned(base, prepared, answering)
    return prepared, plan


def planned(base: "Base", prepared: "Prepared", answering: "Callable[[], Model]") -> "Plan":
    """From a trial here. Raises what `way_of` and `plan_of` raise."""
    from ouvert.tuning import learner_of, plan_of, way_of

    way = way_of(prepared.recipe, lambda: EngineSampler(answering()))
    learner = learner_of(base, prepared.recipe, prepared.adapter)
    try:
        return plan_of(prepared, learner, way)
    finally:
        learner.close()


def say_how_many_thoughts(done: int, every: int) -> None:
    if done % 10 == 0 or done == every:
        print(f"{done} of {every} thoughts are written", file=sys.stderr)


def refuse_variant(installed: "Installed") -> None:
    """Raises TuningError for a model that is asked for with adapters: what is trained stands on bare weights."""
    from ouvert.tuning import TuningError

    if installed.adapters:
        raise TuningError(
            f"tuning {installed.called}: it has adapters, expected a model alone. An adapter is trained on the bare "
            f"weights: `ouvert tune {installed.name} DATA`."
        )


def free_name(data: str, store: "Store", runs: Any) -> str:
    """As the file of examples is called, with a number where that is taken."""
    stem = "corrections" if data == CORRECTIONS else Path(data).name.partition(".")[0]
    name = re.sub(r"[^a-z0-9_.-]+", "-", stem.lower()).strip("-._")[:56] or "adapter"
    taken = {*store.adapters.names(), *runs.names()}
    return next(each for each in (name, *(f"{name}-{n}" for n in range(2, 10_000))) if each not in taken)


def require_free(name: str, store: "Store", runs: Any) -> None:
    """Raises TuningError before anything is computed for a name that is taken."""
    from ouvert.tuning import TuningError

    if name in store.adapters.names():
        raise TuningError(
            f"tuning: there is an adapter {name!r} on this machine already, expected a new name. Choose another "
            f"--name, or remove it first: `ouvert adapter remove {name}`."
        )
    if name in runs.names():
        raise TuningError(
            f"tuning: there is an unfinished run {name!r}, expected a new name. `ouvert tune resume {name}` goes on "
            f"with it, `ouvert tune remove {name}` gives it up; or choose another --name."
        )


def say_what_else_runs(runs: Any) -> None:
    """Two runs at once are slower than one after the other."""
    if others := runs.running():
        print(f"ouvert: {' and '.join(others)} {'is' if len(others) == 1 else 'are'} being trained now, and share this "
              "machine with what begins here.", file=sys.stderr)  # fmt: skip
