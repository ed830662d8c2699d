"""Plans: how many steps, how often the held-out loss is measured, what fits into minutes, how much memory."""

import math

import numpy as np
import pytest

from ouvert.tuning import Example, Recipe, TuningError
from ouvert.tuning.data import Counts, Dataset
from ouvert.tuning.methods import Supervised
from ouvert.tuning.plan import MEASURING_AT_MOST, MOST_MEASUREMENTS, fitting_steps, make_plan, measure_every
from ouvert.tuning.trial import Speed, fitting, measure_speed, tokens_of

from .tiny_learner import TinyLearner, examples

SPEED = Speed(learning=0.01, measuring=0.004, optimising=0.5, memory=10**9, call_tokens=100, memory_of_token=1000.0)


def dataset(count=100, held_out=10, length=20):
    ids, trained = np.zeros(length, "i4"), np.ones(length, "f4")
    trained[0] = 0
    items = tuple(Example(ids, trained, line) for line in range(1, count + held_out + 1))
    counts = Counts(rows=count, items=count, held_out=held_out, tokens=count * length, trained=count * (length - 1))
    return Dataset(train=items[:count], held_out=items[count:], counts=counts, digest="sha256:0", notes=())


def plan(data=None, speed=SPEED, **optimise):
    recipe = Recipe.of({"optimise": {"batch": 8, "epochs": 3, **optimise}})
    return make_plan(recipe, data or dataset(), TinyLearner().adapter, speed)


def test_epochs_become_steps():
    made = plan()
    assert made.course.steps == math.ceil(300 / 8)
    assert made.tokens == 300 * 20
    assert made.trained == 300 * 19
    assert made.epochs == 3
    assert made.numbers == TinyLearner().adapter.parameters
    assert plan(epochs=0.01).course.steps == 1
    assert plan(epochs=0.5).tokens == 50 * 20


def test_steps_are_taken_instead():
    made = plan(steps=50)
    assert made.course.steps == 50
    assert made.epochs == 4
    assert made.tokens == 400 * 20


def test_the_time_is_that_of_learning_measuring_and_optimising():
    made = plan()
    learning = 300 * 20 * 0.01 + made.course.steps * 0.5
    assert made.seconds == pytest.approx(learning + made.measurements * 200 * 0.004)
    assert made.measurements == 1 + math.ceil(made.course.steps / made.course.measure_every)


@pytest.mark.parametrize("minutes", [0.2, 0.5, 0.9])
def test_minutes_are_filled_and_not_passed(minutes):
    made = plan(minutes=minutes)
    assert made.steps_asked == 38
    assert made.course.steps < 38
    assert made.seconds <= 60 * minutes
    assert plan(steps=made.course.steps + 1).seconds > 60 * minutes


def test_more_minutes_than_it_takes_change_nothing():
    assert plan(minutes=100).course == plan().course


def test_a_step_that_does_not_fit_is_said_with_both_numbers():
    with pytest.raises(TuningError, match=r"one step takes 4 seconds.*and 3 are allowed.*Allow more minutes"):
        plan(minutes=0.05)


@pytest.mark.parametrize("steps", [1, 7, 44, 1000])
@pytest.mark.parametrize("held_out", [1, 100, 10_000, 10**7])
def test_the_held_out_loss_is_measured_seldom_enough(steps, held_out):
    tokens = 50_000.0
    every = measure_every(steps, tokens, held_out)
    measurements = math.ceil(steps / every)
    assert 1 <= measurements <= MOST_MEASUREMENTS
    assert measurements == 1 or measurements * held_out * 0.4 <= MEASURING_AT_MOST * tokens * 1.2


def test_where_nothing_is_held_out_nothing_is_measured():
    made = plan(dataset(held_out=0))
    assert made.measurements == 0
    assert made.course.measure_every == made.course.steps


def test_the_most_steps_are_found():
    assert [fitting_steps(100, lambda steps: 3.0 * steps + 1, limit) for limit in (4, 6.9, 7, 100, 1000)] == [
        1, 1, 2, 33, 100
    ]  # fmt: skip


def test_memory_grows_with_longer_calls_and_with_the_best_adapter():
    adapter = 4 * TinyLearner().adapter.parameters
    assert plan(stop_early=0).memory == 10**9 + 60 * 1000
    assert plan().memory == 10**9 + 60 * 1000 + adapter
    assert plan(dataset(length=500), stop_early=0).memory == 10**9 + (2048 - 100) * 1000
    assert plan(dataset(length=3000), stop_early=0).memory == 10**9 + (3000 - 100) * 1000


def test_a_trial_measures_and_leaves_the_adapter_as_it_was():
    learner, recipe = TinyLearner(), Recipe.of({"optimise": {"batch": 8}, "data": {"length": 64}})
    before = learner.adapter.digest
    items = examples(30)
    counts = Counts(rows=30, items=25, held_out=5, tokens=1, trained=1)
    data = Dataset(train=items[:25], held_out=items[25:], counts=counts, digest="", notes=())
    speed = measure_speed(learner, Supervised(), recipe, data)
    assert learner.adapter.digest == before
    assert all(each.grad is None for each in learner.parameters.values())
    assert speed.learning > 0
    assert speed.measuring > 0
    assert speed.memory > 10_000_000
    first = [data.train[place] for place in data.order(recipe.seed, 0)[:8]]
    assert max(learner.calls) == tokens_of(first) == speed.call_tokens


def test_a_trial_takes_what_fits_and_one_at_least():
    items = examples(5)
    sizes = [len(each.ids) for each in items]
    assert fitting(items, 0) == [items[0]]
    assert fitting(items, sum(sizes[:3])) == list(items[:3])
    assert fitting(items, 10**6) == list(items)
