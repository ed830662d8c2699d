"""The steps of a run: examples in their order, gradients added up, the optimiser, the held-out loss, what is kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from time import monotonic
from typing import Any

from ouvert.tuning.data import Dataset
from ouvert.tuning.error import TuningError
from ouvert.tuning.example import Item
from ouvert.tuning.learner import Array, Learner, Loss
from ouvert.tuning.memory import peak_memory
from ouvert.tuning.methods import Way
from ouvert.tuning.optimiser import Optimiser
from ouvert.tuning.recipe import Recipe
from ouvert.tuning.state import RunState, Standing
from ouvert.tuning.terms import CALL_TOKENS, Term, add, calls_of

KEPT_AFTER_SECONDS = 60.0
KEEPING_AT_MOST = 0.05  # of the time: large states are kept less often


class StopAskedError(Exception):
    """Somebody asked the run to stop: it stands where it was after the last whole step, and that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How long a run is: so many steps; the held-out loss before the first, after every `measure_every` and after the
    last. `call_tokens`: as `calls_of` has it."""

    steps: int
    measure_every: int
    call_tokens: int = CALL_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchers:
    """Who is told, and who decides. `told`: a line of metrics, as soon as it is known. `keep`: keeps a state. `before`:
    called before each call of the learner; it may wait, and raises StopAskedError where somebody asked to stop."""

    told: Callable[[Mapping[str, Any]], None]
    keep: Callable[[RunState], None]
    before: Callable[[], None] = lambda: None
    kept_after_seconds: float = KEPT_AFTER_SECONDS


class Asking:
    """A learner that asks before each of its calls: between two of them a run waits, or stops."""

    def __init__(self, learner: Learner, before: Callable[[], None]) -> None:
        self._learner, self._before = learner, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learner, name)

    def log_probabilities(self, *args: Any, **kwargs: Any) -> list[Array]:
        self._before()
        return self._learner.log_probabilities(*args, **kwargs)

    def learn(self, *args: Any, **kwargs: Any) -> Loss:
        self._before()
        return self._learner.learn(*args, **kwargs)


class Loop:
    """One run, in one process. Not for use from several threads."""

    def __init__(
        self,
        learner: Learner,
        way: Way,
        recipe: Recipe,
        data: Dataset,
        course: Course,
        watchers: Watchers,
        state: RunState | None = None,
    ) -> None:
        """`state`: where it goes on. Raises TuningError for a state of other parameters."""
        self._learner: Learner = Asking(learner, watchers.before)
        self._way, self._recipe, self._data = way, recipe, data
        self._course, self._watchers = course, watchers
        self._optimiser = Optimiser(learner.parameters, recipe.optimise, course.steps)
        self._standing, self._best = Standing(), dict[str, Array]()
        if state is not None:
            self._restore(state)
        self._began = monotonic()
        self._keep_next = self._began + watchers.kept_after_seconds
        self._seconds_before = self._standing.seconds

    def run(self) -> RunState:
        """All that is left to do; where the run then stands. It is kept before this returns.

        Raises StopAskedError when it was asked to stop, TuningError for a run that diverges, and what the learner and
        the watchers raise. What was kept before stays.
        """
        try:
            while not self._over():
                if self._due():
                    self._measure()
                else:
                    self._one_step()
                if monotonic() >= self._keep_next:
                    self._keep()
        except StopAskedError:
            self._keep()
            raise
        self._keep()
        return self.state()

    def state(self) -> RunState:
        """Where it stands. The arrays are those that the next step changes. Raises nothing."""
        return RunState(
            standing=replace(self._standing, seconds=self._seconds()),
            now=self._parameters(),
            moments=self._optimiser.state(),
            best=self._best,
        )

    # --- a step ---

    def _over(self) -> bool:
        last = self._standing.stopped or self._standing.step == self._course.steps
        return last and not self._due()

    def _one_step(self) -> None:
        step, begun = self._standing.step, monotonic()
        self._optimiser.begin()
        terms = self._way.terms(self._items(step), self._learner, step)
        loss = self._learn(terms)
        norm = self._optimiser.step(step)
        self._standing = replace(self._standing, step=step + 1)
        tokens = sum(term.tokens for term in terms)
        self._tell({
            "step": step + 1,
            "loss": loss.value,
            **loss.metrics,
            "tokens": tokens,
            "rate": self._optimiser.rate(step),
            "gradient_norm": norm,
            "tokens_per_second": tokens / max(monotonic() - begun, 1e-9),
        })  # fmt: skip

    def _items(self, step: int) -> list[Item]:
        """Epoch after epoch, each in its own order; the last step takes what is left of the last."""
        count, begin = len(self._data.train), step * self._recipe.optimise.batch
        places = islice(places_from(self._data, self._recipe.seed, begin // count), begin % count, None)
        return [self._data.train[place] for place in islice(places, items_of_step(self._recipe, count, step))]

    def _learn(self, terms: Sequence[Term]) -> Loss:
        value, metrics = 0.0, dict[str, float]()
        for call in calls_of(terms, self._course.call_tokens):
            found = self._learner.learn(call.sequences, call.loss, wanted=call.wanted)
            value += found.value
            add(metrics, found.metrics)
        return Loss(value, (), metrics)

    # --- the held-out loss ---

    def _due(self) -> bool:
        step = self._standing.step
        regular = step % self._course.measure_every == 0 or step == self._course.steps
        return bool(self._data.held_out) and regular and self._standing.measured < step

    def _measure(self) -> None:
        measured, standing = self._way.held_out(self._data.held_out, self._learner), self._standing
        loss = measured["loss"]
        changes: dict[str, Any] = {"measured": standing.step}
        if standing.step == 0:
            changes["held_out"] = loss
        elif standing.best is None or loss < standing.best:
            changes |= {"best": loss, "best_step": standing.step, "worse": 0}
            if self._recipe.optimise.stop_early:
                self._best = {name: each.copy() for name, each in self._parameters().items()}
        else:
            worse, patience = standing.worse + 1, self._recipe.optimise.stop_early
            changes |= {"worse": worse, "stopped": 0 < patience <= worse}
        self._standing = replace(standing, **changes)
        self._tell(
            {
                "step": standing.step,
                "held_out": loss,
                **{f"held_out_{k}": v for k, v in measured.items() if k != "loss"},
            }
        )
        self._keep()

    # --- what is kept and told ---

    def _tell(self, row: Mapping[str, Any]) -> None:
        self._watchers.told({**row, "seconds": round(self._seconds(), 3), "memory": peak_memory()})

    def _keep(self) -> None:
        begun = monotonic()
        self._watchers.keep(self.state())
        took = monotonic() - begun
        self._keep_next = monotonic() + max(took / KEEPING_AT_MOST, self._watchers.kept_after_seconds)

    def _restore(self, state: RunState) -> None:
        import torch

        parameters = self._learner.parameters
        shapes = {name: tuple(each.shape) for name, each in parameters.items()}
        kept = {name: each.shape for name, each in state.now.items()}
        if shapes != kept:
            other = sorted(name for name in shapes.keys() | kept if shapes.get(name) != kept.get(name))
            raise TuningError(
                f"going on with a run: what was kept of it has other parameters than the model ({len(other)} differ, "
                f"the first: {other[0]}). Is the model still the one that it began with?"
            )
        with torch.no_grad():
            for name, each in parameters.items():
                each.copy_(torch.from_numpy(state.now[name]))
        self._optimiser.restore(state.moments, state.standing.step)
        self._standing, self._best = state.standing, dict(state.best)

    def _parameters(self) -> dict[str, Array]:
        return {name: each.detach().numpy() for name, each in self._learner.parameters.items()}

    def _seconds(self) -> float:
        return self._seconds_before + monotonic() - self._began


def places_from(data: Dataset, seed: int, epoch: int) -> Iterator[int]:
    """Places in `data.train` from the beginning of an epoch on, without an end."""
    while True:
        yield from data.order(seed, epoch)
        epoch += 1


def items_of_step(recipe: Recipe, count: int, step: int) -> int:
    """How many items a step has: the batch, or what the epochs leave for the last. Raises nothing."""
    settings = recipe.optimise
    if settings.steps:
        return settings.batch
    return max(min(settings.batch, round(settings.epochs * count) - step * settings.batch), 1)
