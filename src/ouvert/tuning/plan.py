"""What a run will do, before it does anything: how many steps, what is trained, how long, how much memory."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from ouvert.packed import Adapter
from ouvert.tuning.beginning import TrainedWeight, table_of
from ouvert.tuning.data import Counts, Dataset
from ouvert.tuning.error import TuningError
from ouvert.tuning.loop import Course
from ouvert.tuning.recipe import Recipe
from ouvert.tuning.terms import CALL_TOKENS
from ouvert.tuning.trial import Speed, tokens_of

# Held-out losses: this often at most, and as seldom as it takes for all of them to stay below a share of the work. The
# forward pass alone is taken for 0.4 of a pass that learns, whatever this machine measures: a run has the same steps
# and the same measurements on every machine.
MOST_MEASUREMENTS = 20
MEASURING_AT_MOST = 0.1
FORWARD_OF_LEARNING = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`tokens` and `trained` are those of all steps, `epochs` how often every example is seen. `seconds` and `memory`
    (bytes, the mapped weights among it) are foreseen from what was measured on this machine. `steps_asked`: how many
    there would be without a limit of minutes."""

    recipe: Recipe
    counts: Counts
    digest: str
    notes: tuple[str, ...]
    weights: tuple[TrainedWeight, ...]
    course: Course
    epochs: float
    tokens: int
    trained: int
    steps_asked: int
    measurements: int
    seconds: float
    memory: int

    @property
    def numbers(self) -> int:
        """How many numbers are trained. Raises nothing."""
        return sum(each.numbers for each in self.weights)

    @property
    def mapping(self) -> dict[str, Any]:
        """As JSON has it. Raises nothing."""
        facts = asdict(self)
        return {**facts, "recipe": self.recipe.mapping(), "numbers": self.numbers}


def make_plan(recipe: Recipe, data: Dataset, adapter: Adapter, speed: Speed) -> Plan:
    """Raises TuningError where not even one step fits into the minutes that the recipe allows."""
    count, settings = len(data.train), recipe.optimise
    asked = settings.steps or max(math.ceil(round(settings.epochs * count) / settings.batch), 1)
    held_out = tokens_of(data.held_out)
    all_tokens = tokens_of(data.train)

    def work(steps: int) -> tuple[Course, int, float, float]:
        """(course, measurements, epochs, seconds) of so many steps."""
        seen = steps * settings.batch
        epochs = (seen if settings.steps else min(seen, settings.epochs * count)) / count
        every = measure_every(steps, epochs * all_tokens, held_out)
        measurements = 1 + math.ceil(steps / every) if held_out else 0
        learning = epochs * all_tokens * speed.learning + steps * speed.optimising
        return (
            Course(steps=steps, measure_every=every),
            measurements,
            epochs,
            (learning + measurements * held_out * speed.measuring),
        )

    steps = fitting_steps(asked, lambda steps: work(steps)[3], 60 * settings.minutes) if settings.minutes else asked
    course, measurements, epochs, seconds = work(steps)
    return Plan(
        recipe=recipe,
        counts=data.counts,
        digest=data.digest,
        notes=data.notes,
        weights=table_of(adapter),
        course=course,
        epochs=epochs,
        tokens=round(epochs * all_tokens),
        trained=round(epochs * data.counts.trained),
        steps_asked=asked,
        measurements=measurements,
        seconds=seconds,
        memory=memory_of(recipe, data, adapter, speed),
    )


def measure_every(steps: int, tokens: float, held_out: int) -> int:
    """After how many steps the held-out loss is measured. Raises nothing."""
    if not held_out:
        return steps
    affordable = MEASURING_AT_MOST * tokens / (FORWARD_OF_LEARNING * held_out)
    return math.ceil(steps / max(1, min(MOST_MEASUREMENTS, math.floor(affordable))))


def fitting_steps(asked: int, seconds_of: Any, limit: float) -> int:
    """The most steps, `asked` at most, that take no longer than `limit` seconds. Raises TuningError if none does."""
    if seconds_of(1) > limit:
        raise TuningError(
            f"planning: one step takes {seconds_of(1):.0f} seconds on this machine, held-out losses among it, and "
            f"{limit:.0f} are allowed. Allow more minutes, or make [optimise] batch or [data] length smaller."
        )
    least, most = 1, asked
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if seconds_of(middle) <= limit else (least, middle - 1)
    return least


def memory_of(recipe: Recipe, data: Dataset, adapter: Adapter, speed: Speed) -> int:
    """What was measured, and what comes later: larger calls, and the best adapter beside the present one."""
    longest = max(tokens_of([item]) for item in data.train)
    step = recipe.optimise.batch * tokens_of(data.train) / len(data.train)
    call = max(longest, min(CALL_TOKENS, round(step)))
    more = max(call - speed.call_tokens, 0) * speed.memory_of_token
    keeps_best = bool(data.held_out and recipe.optimise.stop_early)
    return round(speed.memory + more + keeps_best * 4 * adapter.parameters)
