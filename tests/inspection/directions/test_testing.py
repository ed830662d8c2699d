"""The causal test: it finds a cause that is planted, and finds none in a random direction."""

import json

import numpy as np
import pytest

from ouvert import arithmetic
from ouvert.inspection import InspectionError
from ouvert.inspection.directions.direction import Direction
from ouvert.inspection.directions.testing import DirectionTest, Trial, causal_test, random_units

from ..conftest import IDS, placed

PROMPTS = [IDS[:5], IDS[4:11], IDS[9:13]]
OF, LESS = [7, 8], [9]
NEUTRAL = IDS[:12]


def random_direction(subject, seed=99):
    [unit] = random_units(subject.width("embedding", 1), 1, seed)
    return Direction(dict.fromkeys(range(subject.layers), unit), {"norms": [2.0] * subject.layers})


def tried(subject, direction, **settings):
    return causal_test(
        subject, direction, Trial(prompts=PROMPTS, of=OF, less=LESS, neutral=NEUTRAL, randoms=3, **settings)
    )


class Edited(arithmetic.Tap):
    """The plain way: `change(value)` in the place of one value, while NumPy runs the whole graph."""

    def __init__(self, name, change, scope=""):
        self.name, self.change, self.scope = name, change, scope

    def __call__(self, name, value):
        return self.change(value) if self.scope + name == self.name else value

    def inside(self, scope):
        return Edited(self.name, self.change, f"{self.scope}{scope}.")


def test_effects_are_those_of_the_plain_graph_in_numpy(case, exact):
    direction = random_direction(exact)
    unit, length = direction.unit(0), np.float32(0.5 * 2.0)
    result = tried(exact, direction, layer=0, strength=0.5)
    ops = arithmetic.Ops()
    model = placed(case, ops)
    changes = {
        "add": lambda h: h + length * unit,
        "subtract": lambda h: h - length * unit,
        "project_out": lambda h: h - (h @ unit)[:, None] * unit,
    }

    def score(prompt, tap):
        totals = []
        for continuation in (OF, LESS):
            ids = [*prompt, *continuation]
            logits = model.forward(ops.begin([(ops.new_cache(model.memories), ids)], "all"), ops, tap)
            rows = logits[len(prompt) - 1 : -1].astype(np.float64)
            rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
            totals.append(rows[np.arange(len(continuation)), continuation].sum())
        return totals[0] - totals[1]

    before = [score(prompt, None) for prompt in PROMPTS]
    assert result.before == pytest.approx(np.mean(before), abs=2e-3)
    for edit in result.edits:
        tap = Edited("layers.0.out", changes[edit["edit"]])
        after = [score(prompt, tap) for prompt in PROMPTS]
        assert edit["effect"] == pytest.approx(np.mean(np.subtract(after, before)), abs=2e-3), edit["edit"]


def test_nothing_added_changes_nothing_at_all(subject):
    result = tried(subject, random_direction(subject), strength=0)
    for edit in result.edits[:2]:
        assert (edit["effect"], edit["damage"], edit["random_mean"], edit["damage_random"]) == (0, 0, 0, 0)
        assert not edit["beyond_random"]
    assert result.kind == "intervention"


def test_a_planted_cause_is_found_beyond_random_directions(subject_called):
    """What the head reads for one token and not for another, added after the last layer."""
    subject = subject_called("llama", exact=True)
    matrix = placed("llama", arithmetic.Ops()).parameters.unembedding
    planted = (matrix[OF[0]] - matrix[LESS[0]]).astype(np.float32)
    last = subject.layers - 1
    direction = Direction({last: planted}, {"norms": [1.0] * subject.layers})
    found = {each["edit"]: each for each in tried(subject, direction, strength=1).edits}
    assert found["add"]["effect"] > 0 > found["subtract"]["effect"]
    assert found["add"]["beyond_random"]
    assert found["subtract"]["beyond_random"]
    assert found["add"]["damage"] > 0


def test_a_random_direction_is_mostly_within_random_directions(subject_called):
    subject = subject_called("llama")
    beyond = [
        each["beyond_random"]
        for seed in range(8)
        for each in tried(subject, random_direction(subject, 1000 + seed), strength=0.5).edits
    ]
    assert np.mean(beyond) < 0.35  # 5 % if random directions were as many as there are


def test_a_direction_of_another_model_is_refused(subject_called):
    direction = random_direction(subject_called("llama"))
    other = Direction({0: np.ones(7, np.float32)}, {"model": {"name": "tiny"}})
    with pytest.raises(InspectionError, match=r"of 7 numbers .* It was made for another model \(tiny\)"):
        tried(subject_called("llama"), other)
    with pytest.raises(InspectionError, match=r"no vector for layer 9; it has \[0, 1\]"):
        tried(subject_called("llama"), direction, layer=9)
    with pytest.raises(InspectionError, match="strength=-1, randoms=3, 3 prompts"):
        tried(subject_called("llama"), direction, strength=-1)


def test_its_json_is_read_back(subject_called):
    subject = subject_called("llama")
    facts = json.loads(json.dumps(tried(subject, random_direction(subject)).json()))
    assert json.loads(json.dumps(DirectionTest.from_json(facts).json())) == facts
    assert facts["view"] == "direction_test"
