"""What an adapter changes inside its model, beside the check."""

from functools import partial

import numpy as np
import pytest

import ouvert
from ouvert.assistant import Watched, WatchedExperts
from ouvert.cli.adapter_inside import first_seen, has_experts, moved_experts, questions, refusal_probes
from ouvert.inspection import Direction, write_direction
from ouvert.store import Directions, Store


def seen(*chosen):
    experts = WatchedExperts((1, 3), np.array(chosen), np.zeros(2))
    return Watched(place=0, id=0, texts={}, experts=experts, probes={})


def test_experts_that_are_others_are_counted_by_layer_whatever_their_order():
    before, after = seen((0, 1), (4, 5)), seen((1, 0), (4, 7))
    found = {each.where: each.value for each in moved_experts([(before, after), (before, before)])}
    assert found == {"layers.1": 0.0, "layers.3": pytest.approx(0.25)}


def test_a_model_without_experts_has_nothing_to_say_of_them():
    plain = Watched(place=0, id=0, texts={}, probes={})
    assert list(moved_experts([(plain, plain)])) == []


def test_the_questions_are_harmless_and_the_same_for_every_adapter():
    assert len(questions()) == len(set(questions())) == 24


def test_directions_of_refusals_that_are_of_this_model_are_watched(smollm2, tmp_path):
    store = Store(tmp_path)
    with ouvert.load(smollm2, receipts=False, prefixes=False, context=256) as model:
        width = model.engine.shown["layers.0.out"]
        for name, size in (("refusals", width), ("my-refusal-of-another", width + 1), ("french", width)):
            direction = Direction({7: np.ones(size, "f4")}, {"format": "ouvert.direction/1", "layer": 7})
            Directions(store.home).put(name, partial(write_direction, direction))
        (Directions(store.home).folder / "broken-refusal.direction").write_bytes(b"12345678")
        [probe] = refusal_probes(model, store)
        assert (probe.name, probe.layer) == ("refusals", 7)
        assert not has_experts(model)
        one, same = (first_seen(model, "What is tea?", [probe]) for _ in range(2))
        assert one.probes == same.probes
        assert np.isfinite(one.probes["refusals"])
