"""The steps of a run: resumed is uninterrupted, accumulated is one large batch, packed is unpacked, and its end."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ouvert.tuning import Recipe, TuningError
from ouvert.tuning.data import Counts, Dataset
from ouvert.tuning.loop import Course, Loop, StopAskedError, Watchers, items_of_step
from ouvert.tuning.methods import Supervised, mean_cost
from ouvert.tuning.optimiser import Optimiser, share_of_rate
from ouvert.tuning.recipe import Optimise
from ouvert.tuning.state import read_state, write_state
from ouvert.tuning.terms import Term, calls_of

from .tiny_learner import TinyLearner, examples


def data(count=20, held_out=4):
    items = examples(count + held_out)
    train = items[:count]
    tokens, trained = sum(len(each.ids) for each in train), sum(int(each.trained.sum()) for each in train)
    counts = Counts(rows=count + held_out, items=count, held_out=held_out, tokens=tokens, trained=trained)
    return Dataset(train=train, held_out=items[count:], counts=counts, digest="sha256:0", notes=())


def recipe(**optimise):
    usual = {"rate": 0.05, "batch": 6, "epochs": 3, "stop_early": 0, **optimise}
    return Recipe.of({"data": {"length": 24}, "optimise": usual})


class Kept:
    """Watchers that remember, and stop before the call of a given number."""

    def __init__(self, stop_before=None, path=None):
        self.rows, self.states, self.calls = [], [], 0
        self.stop_before, self.path = stop_before, path

    def before(self):
        self.calls += 1
        if self.calls == self.stop_before:
            raise StopAskedError

    def keep(self, state):
        self.states.append(state)
        if self.path is not None:
            write_state(self.path, state)

    @property
    def watchers(self):
        return Watchers(told=self.rows.append, keep=self.keep, before=self.before, kept_after_seconds=math.inf)


def trained(of=None, steps=10, every=3, kept=None, learner=None, dataset=None, state=None):
    of, kept, learner = of or recipe(), kept or Kept(), learner or TinyLearner()
    course = Course(steps=steps, measure_every=every, call_tokens=24)
    loop = Loop(learner, Supervised(), of, dataset or data(), course, kept.watchers, state)
    return learner, kept, loop.run()


def test_a_run_learns():
    learner, kept, state = trained(steps=30)
    steps = [row for row in kept.rows if "loss" in row]
    held_out = [row["held_out"] for row in kept.rows if "held_out" in row]
    assert [row["step"] for row in steps] == list(range(1, 31))
    assert steps[-1]["loss"] < 0.8 * steps[0]["loss"]
    assert held_out[-1] < 0.8 * held_out[0]
    assert state.standing.held_out == held_out[0]
    assert not learner.adapter.changes_nothing


def test_every_example_is_seen_as_often_as_there_are_epochs():
    seen = []

    class Watching(Supervised):
        def terms(self, items, learner, step):
            seen.extend(item.line for item in items)
            return super().terms(items, learner, step)

        def held_out(self, items, learner):
            return {"loss": 0.0}

    of, dataset = recipe(epochs=2.5, batch=7), data(20)
    steps = math.ceil(2.5 * 20 / 7)
    Loop(TinyLearner(), Watching(), of, dataset, Course(steps=steps, measure_every=99), Kept().watchers).run()
    assert len(seen) == 50
    lines = [each.line for each in dataset.train]
    assert sorted(seen[:20]) == sorted(seen[20:40]) == sorted(lines)
    assert seen[:20] != seen[20:40]
    assert items_of_step(of, 20, steps - 1) == 50 - 7 * (steps - 1)


@pytest.mark.parametrize("stop_before", range(1, 28, 2))
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, stop_before):
    """Stopped before the n-th call of the learner, another object from then on: the same adapter, moments, losses."""
    learner, whole, state = trained()
    path = tmp_path / "run" / "checkpoint" / "state.safetensors"
    path.parent.mkdir(parents=True)
    kept = Kept(stop_before, path)
    with pytest.raises(StopAskedError):
        trained(kept=kept)
    again = Kept()
    resumed, _, after = trained(kept=again, state=read_state(path))
    assert resumed.adapter.digest == learner.adapter.digest
    for name, moment in state.moments.items():
        np.testing.assert_array_equal(after.moments[name], moment)
    assert replace(after.standing, seconds=0) == replace(state.standing, seconds=0)
    assert [numbers(row) for row in (*kept.rows, *again.rows)] == [numbers(row) for row in whole.rows]


def numbers(row):
    return {name: value for name, value in row.items() if name not in ("seconds", "memory", "tokens_per_second")}


def test_a_state_without_its_moments_ends_elsewhere():
    """The test above would notice moments that are not kept."""
    learner, _, _ = trained()
    kept = Kept(stop_before=20)
    with pytest.raises(StopAskedError):
        trained(kept=kept)
    state = kept.states[-1]
    state = replace(state, moments={name: np.zeros_like(each) for name, each in state.moments.items()})
    assert trained(state=state)[0].adapter.digest != learner.adapter.digest


def test_the_number_of_threads_changes_no_bit_of_a_step():
    def after(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            random = torch.Generator().manual_seed(4)
            parameters = {name: torch.nn.Parameter(torch.randn(997, 331, generator=random)) for name in ("w.a", "w.b")}
            optimiser = Optimiser(parameters, Optimise(rate=0.01, weight_decay=0.1), 10)
            for step in range(3):
                optimiser.begin()
                for each in parameters.values():
                    each.grad = torch.randn(each.shape, generator=random)
                optimiser.step(step)
            return [each.detach().numpy().tobytes() for each in parameters.values()]
        finally:
            torch.set_num_threads(before)

    assert after(1) == after(2) == after(3)


# --- the same loss however it is computed ---


def gradients(dataset, most):
    learner = TinyLearner()
    with torch.no_grad():
        learner.parameters["layers.1.q.b"].add_(0.1)
    terms = Supervised().terms(dataset.train[:8], learner, 0)
    value = sum(learner.learn(call.sequences, call.loss, wanted=call.wanted).value for call in calls_of(terms, most))
    return value, {name: each.grad.clone() for name, each in learner.parameters.items()}, learner.calls


def test_eight_calls_of_one_are_one_call_of_eight():
    dataset = data()
    apart, gradients_apart, calls_apart = gradients(dataset, 1)
    at_once, gradients_at_once, calls_at_once = gradients(dataset, 10_000)
    packed, gradients_packed, calls_packed = gradients(dataset, 24)
    assert (len(calls_apart), len(calls_at_once)) == (8, 1)
    assert 1 < len(calls_packed) < 8
    assert max(calls_packed) <= 24
    assert apart == pytest.approx(at_once, rel=1e-12)
    assert apart == pytest.approx(packed, rel=1e-12)
    for name, each in gradients_apart.items():  # sums of eight float32 in another order: a few units in the last place
        torch.testing.assert_close(each, gradients_at_once[name], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(each, gradients_packed[name], rtol=1e-5, atol=1e-7)


def test_the_mean_of_the_examples_means_is_noticed():
    """What others did (transformers PR 34191): each example's own mean, then the mean of these."""
    dataset = data()
    right, _, _ = gradients(dataset, 1)
    learner = TinyLearner()
    with torch.no_grad():
        learner.parameters["layers.1.q.b"].add_(0.1)
    wrong = np.mean([
        mean_cost(each.trained, float(each.trained.sum()))(learner.log_probabilities([each.ids])).value
        for each in dataset.train[:8]
    ])  # fmt: skip
    assert abs(wrong - right) > 1e-3 * right


def test_terms_of_several_sequences_get_their_own_log_probabilities():
    seen = []

    def costing(name, count):
        def loss(found):
            seen.append((name, [len(each) for each in found]))
            return mean_cost(np.ones(len(found[0]), "f4"), 1.0)(found[:1]) if count == 1 else pair(found)

        return loss

    def pair(found):
        first, second = (mean_cost(np.ones(len(each), "f4"), 1.0)([each]) for each in found)
        return replace(first, value=first.value + second.value, gradients=(*first.gradients, *second.gradients))

    ids = [np.zeros(n, "i4") for n in (3, 4, 5)]
    terms = [Term((ids[0],), costing("one", 1), ids[:1]), Term((ids[1], ids[2]), costing("two", 2), ids[1:])]
    [call] = calls_of(terms)
    found = call.loss([-np.ones(len(each)) for each in call.sequences])
    assert [len(each) for each in call.wanted] == [3, 4, 5]
    assert seen == [("one", [3]), ("two", [4, 5])]
    assert found.value == 12
    assert [len(each) for each in found.gradients] == [3, 4, 5]


# --- rate, clipping, an end ---


@pytest.mark.parametrize("warm_up", [0, 0.1, 0.25])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rate_is_that_of_torchs_schedulers(schedule, warm_up):
    from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, SequentialLR

    steps, settings = 40, Optimise(schedule=schedule, warm_up=warm_up, rate=3e-3)
    rising = math.ceil(warm_up * steps)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings.rate)
    falling = {
        "cosine": lambda: CosineAnnealingLR(optimiser, steps - rising),
        "linear": lambda: LinearLR(optimiser, 1.0, 0.0, steps - rising),
        "constant": lambda: ConstantLR(optimiser, 1.0),
    }[schedule]
    if rising > 1:
        up = LinearLR(optimiser, 1 / rising, 1.0, rising - 1)
        scheduler = SequentialLR(optimiser, [up, falling()], [rising])
    else:
        scheduler = falling()
    for step in range(steps):
        ours = settings.rate * share_of_rate(settings, step, steps)
        assert ours == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9), step
        assert ours > 0
        optimiser.step()
        scheduler.step()


def test_the_b_of_a_pair_has_a_rate_of_its_own():
    steps = {}
    for times in (1.0, 4.0):
        learner = TinyLearner()
        before = {name: each.detach().clone() for name, each in learner.parameters.items()}
        optimiser = Optimiser(learner.parameters, Optimise(rate=0.01, rate_of_b=times, warm_up=0), 10)
        for each in learner.parameters.values():
            each.grad = torch.ones_like(each)
        optimiser.step(0)
        steps[times] = {
            name: float((each.detach() - before[name]).abs().max()) for name, each in learner.parameters.items()
        }
    for name, moved in steps[1.0].items():  # Adam's first step is the rate, whatever the gradient
        assert steps[4.0][name] == pytest.approx(moved * (4 if name.endswith(".b") else 1), rel=1e-4)


def test_a_step_is_that_of_torch_with_the_same_bits():
    random = torch.Generator().manual_seed(4)
    first = {name: torch.randn(97, 33, generator=random) for name in ("w.a", "w.b")}
    ours = {name: torch.nn.Parameter(each.clone()) for name, each in first.items()}
    theirs = {name: torch.nn.Parameter(each.clone()) for name, each in first.items()}
    settings = Optimise(rate=0.01, rate_of_b=4.0, weight_decay=0.1, schedule="constant", warm_up=0, clip=0)
    optimiser = Optimiser(ours, settings, 10)
    groups = [{"params": [theirs["w.a"]], "lr": 0.01}, {"params": [theirs["w.b"]], "lr": 0.04}]
    adam = torch.optim.AdamW(groups, weight_decay=0.1, fused=True)
    for step in range(5):
        for name in first:
            ours[name].grad = torch.randn(97, 33, generator=random)
            theirs[name].grad = ours[name].grad.clone()
        optimiser.step(step)
        adam.step()
    assert all(torch.equal(ours[name], theirs[name]) for name in first)
    assert all(not torch.equal(ours[name], first[name]) for name in first)


def test_a_gradient_is_cut_to_its_norm():
    learner = TinyLearner()
    optimiser = Optimiser(learner.parameters, Optimise(clip=0.5), 10)
    for each in learner.parameters.values():
        each.grad = torch.ones_like(each)
    numbers = sum(each.numel() for each in learner.parameters.values())
    assert optimiser.step(0) == pytest.approx(math.sqrt(numbers))
    cut = sum(float((each.grad**2).sum()) for each in learner.parameters.values())
    assert math.sqrt(cut) == pytest.approx(0.5, rel=1e-4)


def test_a_parameter_that_no_sequence_reached_has_a_gradient_of_zero():
    learner = TinyLearner()
    optimiser = Optimiser(learner.parameters, Optimise(), 10)
    learner.parameters["layers.0.q.a"].grad = torch.ones(3, 12)
    optimiser.step(0)
    assert set(optimiser.state()) == {f"{of}.{name}" for of in ("mean", "square") for name in learner.parameters}


def test_a_run_that_diverges_ends_with_a_sentence_and_its_last_state():
    class Broken(TinyLearner):
        def learn(self, sequences, loss, *, wanted=None):
            answer = super().learn(sequences, loss)
            if len(self.calls) > 12:
                self.parameters["layers.0.q.a"].grad.fill_(math.nan)
            return answer

    learner, kept = Broken(), Kept()
    with pytest.raises(TuningError, match=r"gradient's norm is nan, expected a number.*smaller rate"):
        trained(kept=kept, learner=learner)
    assert np.isfinite(learner.parameters["layers.0.q.a"].detach().numpy()).all()


class Worsening(Supervised):
    """A held-out loss that falls until the sixth step and rises from then on."""

    def held_out(self, items, learner):
        self.count = getattr(self, "count", -1) + 1
        return {"loss": abs(self.count - 3) + 1.0}


def test_it_stops_early_and_keeps_the_best():
    of, kept, learner = recipe(stop_early=2), Kept(), TinyLearner()
    state = Loop(learner, Worsening(), of, data(), Course(steps=40, measure_every=2), kept.watchers).run()
    assert (state.standing.step, state.standing.best_step, state.standing.best) == (10, 6, 1.0)
    assert state.standing.stopped
    other = recipe(stop_early=0)
    at_six, _, _ = trained(of=other, steps=40, every=99, kept=(six := Kept(stop_before=None)), learner=TinyLearner())
    assert at_six.adapter.digest != learner.adapter.digest
    assert {name: each.shape for name, each in state.answer.items()} == {
        name: each.shape for name, each in state.now.items()
    }
    assert any((state.answer[name] != state.now[name]).any() for name in state.now)
    assert six.states


def test_without_early_stopping_the_last_is_kept():
    of = recipe(stop_early=0)
    state = Loop(TinyLearner(), Worsening(), of, data(), Course(steps=20, measure_every=2), Kept().watchers).run()
    assert state.standing.step == 20
    assert state.answer is state.now


def test_a_state_of_another_model_is_refused(tmp_path):
    _, _, state = trained(steps=2)
    other = replace(state, now={**state.now, "layers.9.q.a": np.zeros((3, 12), "f4")})
    with pytest.raises(TuningError, match=r"1 differ, the first: layers\.9\.q\.a"):
        trained(state=other)
