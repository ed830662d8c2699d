"""Answers that are drawn while training: they give way between two steps of the engine, and end when asked to."""

import threading
import time
from itertools import pairwise

import numpy as np
import pytest

import ouvert
from ouvert.cli.tuning_sampler import EngineSampler
from ouvert.store import Store
from ouvert.tuning import Asked, StopAskedError

ANSWERS, TOKENS = 6, 60


@pytest.fixture
def drawing(speaking_model, speaking_adapter, tmp_path):
    """drawing(between) -> what is drawn with an adapter, and the model."""
    store = Store(tmp_path / "store")
    speaking_adapter(store, "rude")
    model = ouvert.load(f"{speaking_model()}+rude", store=store, receipts=False, prefixes=False, threads=1)
    [(adapter, _)] = model.adapters.read(model.variant)
    asked = [Asked(np.array(model.render("hi").ids, np.int32), tuple(range(ANSWERS)))]

    def draw(between):
        [group] = EngineSampler(model)(asked, adapter, length=TOKENS, temperature=3.0, between=between)
        return group

    yield draw, model
    model.close()


def test_they_are_asked_between_all_steps_and_are_the_same_for_it(drawing):
    draw, _ = drawing
    came = []
    group = draw(lambda: came.append(threading.current_thread()))
    assert len(came) >= max(len(each.ids) for each in group)
    for one, other in zip(group, draw(lambda: None), strict=True):
        assert np.array_equal(one.ids, other.ids)
        assert np.array_equal(one.log_probabilities, other.log_probabilities)


def test_no_step_is_made_while_somebody_is_waited_for(drawing):
    draw, model = drawing
    seen, waited = [], []

    def between():
        if not waited and model.engine.load.output_tokens > ANSWERS:
            before = model.engine.load.steps
            time.sleep(0.3)
            waited.append(model.engine.load.steps - before)
        seen.append(model.engine.load.steps)

    draw(between)
    assert waited == [0]
    assert max(b - a for a, b in pairwise(seen)) == 1


def test_all_end_where_somebody_asks_to_stop_and_the_model_goes_on(drawing):
    draw, model = drawing

    def between():
        if model.engine.load.output_tokens > 2 * ANSWERS:
            raise StopAskedError

    with pytest.raises(StopAskedError):
        draw(between)
    assert model.engine.load.output_tokens < ANSWERS * TOKENS / 2
    assert [*model.chat("hi", adapter=())]
