"""How fast this machine learns, measured: a few real examples, learnt from and forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from time import perf_counter

from ouvert.tuning.data import Dataset, sequences_of
from ouvert.tuning.example import Item
from ouvert.tuning.learner import Learner
from ouvert.tuning.loop import items_of_step, places_from
from ouvert.tuning.memory import peak_memory
from ouvert.tuning.methods import Way
from ouvert.tuning.optimiser import Optimiser
from ouvert.tuning.recipe import Recipe
from ouvert.tuning.terms import CALL_TOKENS, calls_of

SECONDS = 20.0  # that measuring may take, but for a single example of a large model


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Seconds for each token that is `learning`, and for each of a held-out item whose loss is only `measuring`; for
    the optimiser's part of a step. `memory`: the most that the process has had, in bytes, with a call of `call_tokens`;
    each further token of a call takes `memory_of_token`."""

    learning: float
    measuring: float
    optimising: float
    memory: int
    call_tokens: int
    memory_of_token: float


def measure_speed(learner: Learner, way: Way, recipe: Recipe, data: Dataset, seconds: float = SECONDS) -> Speed:
    """Learn from the first step's examples, as far as they fit into so many seconds, and forget it again: the adapter
    is as it was before. Raises what the learner raises."""
    optimiser = Optimiser(learner.parameters, replace(recipe.optimise, rate=0.0, weight_decay=0.0), 1)
    batch = items_of_step(recipe, len(data.train), 0)
    items = [data.train[place] for place in islice(places_from(data, recipe.seed, 0), batch)]
    first = items[:1]
    learn(learner, way, first)  # brings in what comes late: pages of weights, torch's own
    once = learn(learner, way, first)
    small, memory = tokens_of(first), peak_memory()
    chosen = fitting(items, small * seconds / max(once, 1e-9))
    took = learn(learner, way, chosen)
    largest = min(tokens_of(chosen), CALL_TOKENS)
    grown = peak_memory() - memory
    begun = perf_counter()
    optimiser.step(0)
    optimising = perf_counter() - begun
    optimiser.begin()
    measured = fitting(list(data.held_out), small * seconds / max(once, 1e-9)) if data.held_out else ()
    begun = perf_counter()
    if measured:
        way.held_out(measured, learner)
    measuring = (perf_counter() - begun) / max(tokens_of(measured), 1)
    return Speed(
        learning=took / tokens_of(chosen),
        measuring=measuring,
        optimising=optimising,
        memory=peak_memory(),
        call_tokens=largest,
        memory_of_token=grown / (largest - small) if largest > small else 0.0,
    )


def learn(learner: Learner, way: Way, items: Sequence[Item]) -> float:
    """The seconds that it takes."""
    begun = perf_counter()
    for call in calls_of(way.terms(items, learner, 0)):
        learner.learn(call.sequences, call.loss, wanted=call.wanted)
    return perf_counter() - begun


def fitting(items: Sequence[Item], tokens: float) -> list[Item]:
    """As many of the first as have so many tokens together; one at least."""
    chosen: list[Item] = []
    for item in items:
        if chosen and tokens_of([*chosen, item]) > tokens:
            break
        chosen.append(item)
    return chosen


def tokens_of(items: Sequence[Item]) -> int:
    """Of all their sequences. Raises nothing."""
    return sum(len(each.ids) for item in items for each in sequences_of(item))
