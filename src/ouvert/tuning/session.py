"""A run from its data to what is kept: the pieces that the command and Python put together."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ouvert.packed import Adapter
from ouvert.store import somebody_is_answered
from ouvert.tuning.beginning import begin_adapter
from ouvert.tuning.data import Dataset, read_data, sequences_of
from ouvert.tuning.error import TuningError
from ouvert.tuning.loop import Loop, StopAskedError, Watchers
from ouvert.tuning.making import Think
from ouvert.tuning.methods import Way
from ouvert.tuning.opening import Base
from ouvert.tuning.plan import Plan, make_plan
from ouvert.tuning.recipe import Recipe
from ouvert.tuning.reward_files import digests_of, require_same_files, with_whole_paths
from ouvert.tuning.rewards import require_columns
from ouvert.tuning.runs import Begun, OpenRun, Seen
from ouvert.tuning.trial import fitting, measure_speed

if TYPE_CHECKING:
    from ouvert.tuning.gradient import GradientLearner

ROUTED_TOKENS = 32768  # of the data at most, in which the busiest experts are counted
LOOK_SECONDS = 0.05  # between two looks at whether a server still answers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What is known before a run: its whole recipe, data, and the adapter that it begins with."""

    recipe: Recipe
    data: Dataset
    adapter: Adapter


def settled(recipe: Recipe, base: Base, data: Path) -> Recipe:
    """The whole recipe: with the model, the data, the day and the files that it means. Raises TuningError for a length
    that the model does not read."""
    if recipe.data.length > base.context:
        raise TuningError(
            f"tuning {base.name}: data.length = {recipe.data.length}, and it reads {base.context} tokens at most. Set "
            f"[data] length (--length) to {base.context} or less."
        )
    day = recipe.data.date or date.today().isoformat()
    return replace(
        recipe,
        model=base.name,
        data=replace(recipe.data, train=str(data), date=day),
        reward=replace(recipe.reward, use=with_whole_paths(recipe.reward.use)),
    )


def without_folders(recipe: Recipe) -> Recipe:
    """As it is kept, and may be given away with its adapter: files of data by their names alone. Raises nothing."""
    held_out = recipe.data.held_out
    named = Path(held_out).name if isinstance(held_out, str) else held_out
    return replace(recipe, data=replace(recipe.data, train=Path(recipe.data.train).name, held_out=named))


def prepare(base: Base, recipe: Recipe, data: Path, think: Think | None = None) -> Prepared:
    """`recipe` as `settled` gives it; `think` as `read_data` has it. Raises what `read_data`, `require_columns` and
    `begin_adapter` raise."""
    read = read_data(data, recipe, base.chat_format, base.tokenizer, think=think)
    if recipe.method == "grpo":
        require_columns(recipe.reward.use, (*read.train, *read.held_out))
    first = fitting([read.train[place] for place in read.order(recipe.seed, 0)], ROUTED_TOKENS)
    sequences = [each.ids for item in first for each in sequences_of(item)]
    return Prepared(recipe=recipe, data=read, adapter=begin_adapter(base, recipe.adapter, recipe.seed, sequences))


def plan_of(prepared: Prepared, learner: "GradientLearner", way: Way) -> Plan:
    """What the run will do, from a trial on this machine. Raises what `measure_speed` and `make_plan` raise."""
    speed = measure_speed(learner, way, prepared.recipe, prepared.data)
    return make_plan(prepared.recipe, prepared.data, prepared.adapter, speed)


def begun(base: Base, prepared: Prepared, plan: Plan, others: Mapping[str, Any]) -> Begun:
    """The run, to be added to `Runs`. `others`: what else its record says, as JSON. Raises what `Base.facts` and
    `digests_of` raise."""
    facts = {
        "base": dict(base.facts),
        "data": prepared.data.digest,
        "rewards": digests_of(prepared.recipe.reward.use if prepared.recipe.method == "grpo" else ()),
        "plan": {"seconds": plan.seconds, "memory": plan.memory},
        "made": time.time(),
        "ouvert": version("ouvert"),
        **others,
    }
    recipe = without_folders(prepared.recipe)
    return Begun(facts=facts, course=plan.course, recipe=recipe, data=prepared.data, adapter=prepared.adapter)


def require_same_base(run: OpenRun, base: Base) -> None:
    """Raises TuningError where the run began with other weights, or another tokenizer or format."""
    then, now = run.facts["base"], base.facts
    other = [name for name in ("weights", "tokenizer", "format") if then.get(name) != now.get(name)]
    if other:
        name = other[0]
        raise TuningError(
            f"going on with {run.name}: {base.name} has the {name} {now.get(name)}, and the run began with "
            f"{then.get(name)}. Bring that model back, or remove the run: `ouvert tune remove {run.name}`."
        )


def require_same_run(seen: Seen, prepared: Prepared) -> None:
    """Raises TuningError where an unfinished run is of another recipe or other data than what is asked for now."""
    same = {
        "data": seen.facts["data"] == prepared.data.digest,
        "recipe": seen.recipe == without_folders(prepared.recipe),
    }
    other = [what for what, holds in same.items() if not holds]
    if other:
        raise TuningError(
            f"going on with {seen.name}: the unfinished run of that name has another {' and other '.join(other)}. Give "
            f"it up (`ouvert tune remove {seen.name}`), or choose another name."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a run behaves: `told` of each line of metrics; `stop`: whether to; `waiting`: called while a server of this
    machine answers; `home`: the store's folder, where that is known, or None to wait for nobody."""

    told: Callable[[Mapping[str, Any]], None] = lambda row: None
    stop: Callable[[], bool] = lambda: False
    waiting: Callable[[], None] = lambda: None
    home: Path | None = None


def train(run: OpenRun, learner: "GradientLearner", way: Way, manners: Manners) -> None:
    """All steps that are left of a run; where it then stands is kept.

    Raises StopAskedError where it was asked to stop, by `manners.stop` or by `Runs.stop`; TuningError where a reward's
    file has changed since it began; what `Loop.run` raises.
    """
    require_same_files(run.name, run.facts.get("rewards", {}))

    def tell(row: Mapping[str, Any]) -> None:
        run.tell(row)
        manners.told(row)

    def before() -> None:
        while True:
            if manners.stop() or run.stop_asked:
                raise StopAskedError
            if manners.home is None or not somebody_is_answered(manners.home):
                return
            manners.waiting()
            time.sleep(LOOK_SECONDS)

    watchers = Watchers(told=tell, keep=run.keep, before=before)
    learner.between = before  # a call takes seconds: it is between its layers that a person's answer goes first
    try:
        Loop(learner, way, run.recipe, run.data, run.course, watchers, run.state).run()
    finally:
        learner.between = lambda: None
