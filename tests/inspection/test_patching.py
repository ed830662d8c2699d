"""Patching against what it must give: nothing from itself, everything from a whole layer, and plain NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest

from ouvert import arithmetic
from ouvert.inspection import InspectionError
from ouvert.inspection.metrics import Difference
from ouvert.inspection.patching import Patching, PatchRequest, prediction_interval
from ouvert.inspection.patching import patch as patch_request

from .conftest import IDS, placed

CLEAN, CORRUPTED = IDS[:7], (*IDS[:2], 9, *IDS[3:7])


class Tokens:
    """A metric of two tokens by their ids: these checkpoints have no tokenizer."""

    def __init__(self, of=5, less=11):
        self.of, self.less = of, less

    def ready_for(self, subject):
        return Difference(self.of, self.less, ("of", "less"))


def patch(subject, clean, corrupted, metric, *, price=None, progress=None, **settings):
    request = PatchRequest(clean=clean, corrupted=corrupted, metric=metric, **settings)
    return patch_request(subject, request, price=price, progress=progress)


def test_a_prompt_patched_from_itself_changes_nothing_at_all(subject):
    result = patch(subject, CLEAN, CLEAN, Tokens(), donors=0)
    assert result.effects.shape == (subject.layers, len(CLEAN))
    assert not result.effects.any()
    assert result.kind == "intervention"


def test_patching_the_last_token_after_the_last_layer_gives_the_whole_difference(subject):
    for direction in ("denoise", "noise"):
        result = patch(subject, CLEAN, CORRUPTED, Tokens(), direction=direction, donors=0)
        assert result.effects[-1, -1] == 1
        assert not result.effects[-1, :-1].any()
        assert not result.effects[:, :2].any()  # before the prompts part, the values are the same


class Put(arithmetic.Tap):
    """The plain way: one row of one value is another's, while NumPy runs the whole graph."""

    def __init__(self, name, row, value, scope=""):
        self.name, self.row, self.value, self.scope = name, row, value, scope

    def __call__(self, name, value):
        if self.scope + name != self.name:
            return value
        changed = value.copy()
        changed[self.row] = self.value.reshape(changed[self.row].shape)
        return changed

    def inside(self, scope):
        return Put(self.name, self.row, self.value, f"{self.scope}{scope}.")


@pytest.mark.parametrize("over", ["out", "attention.out", "mixer.out", "mlp.out", "experts.out"])
def test_effects_are_those_of_the_plain_graph_in_numpy(case, exact, in_numpy, over):
    if not any(name.split(".", 2)[-1] == over for name in exact.names):
        with pytest.raises(
            InspectionError, match=rf"patching {over}: .* have no {over} that may be replaced; they have "
        ):
            patch(exact, CLEAN, CORRUPTED, Tokens(), over=over)
        return
    result = patch(exact, CLEAN, CORRUPTED, Tokens(), over=over, donors=0)
    ops = arithmetic.Ops()
    model = placed(case, ops)
    names = [f"layers.{n}.{over}" for n in result.layers]
    given = in_numpy(case, names, CLEAN)

    def metric(ids, tap=None):
        logits = model.forward(ops.begin([(ops.new_cache(model.memories), ids)], "last"), ops, tap)
        return float(logits[-1, 5]) - float(logits[-1, 11])

    of_run, of_donor = metric(CORRUPTED), metric(CLEAN)
    patched = [[metric(CORRUPTED, Put(name, row, given[name][row])) for row in range(len(CLEAN))] for name in names]
    expected = (np.array(patched) - of_run) / (of_donor - of_run)
    assert np.abs(expected).max() > 0.02
    np.testing.assert_allclose(result.effects, expected, atol=2e-3)


def test_another_head_is_not_the_same(exact, case):
    """Each head's share by itself, and all of them together what the whole value does."""
    if "layers.1.attention.mixed" not in exact.names:
        with pytest.raises(InspectionError, match=r"patching heads: .* have no attention.mixed that"):
            patch(exact, CLEAN, CORRUPTED, Tokens(), over="heads")
        return
    heads = patch(exact, CLEAN, CORRUPTED, Tokens(), over="heads", donors=0)
    assert heads.effects.shape == (exact.layers, exact.model.config.num_attention_heads)
    assert len({*heads.effects[0].tolist()}) > 1
    assert heads.columns[1] == "head 1"


def test_random_donors_give_a_band_and_the_same_one_again(subject_called):
    subject = subject_called("llama")
    first, second = (patch(subject, CLEAN, CORRUPTED, Tokens(), donors=3, seed=5) for _ in range(2))
    low, high = first.noise["low"], first.noise["high"]
    np.testing.assert_array_equal(low, second.noise["low"])
    assert (low <= high).all()
    np.testing.assert_array_equal(first.noise["beyond"], (first.effects < low) | (first.effects > high))
    other = patch(subject, CLEAN, CORRUPTED, Tokens(), donors=3, seed=6)
    np.testing.assert_array_equal(other.effects, first.effects)
    assert (other.noise["low"] != low).any()


def test_a_prediction_interval_holds_what_comes_from_where_its_samples_came():
    random = np.random.default_rng(0)
    low, high = prediction_interval(random.standard_normal((20000, 4)))
    another = random.standard_normal(20000)
    assert 0.94 < ((low <= another) & (another <= high)).mean() < 0.96


def test_tokens_that_belong_together_can_be_said(subject_called):
    subject = subject_called("qwen2")
    longer = (1, *CORRUPTED)
    with pytest.raises(InspectionError, match=r"7 tokens and the corrupted one 8, expected as many"):
        patch(subject, CLEAN, longer, Tokens())
    pairs = [(2, 3), (6, 7)]
    result = patch(subject, CLEAN, longer, Tokens(), alignment=pairs, donors=0)
    assert result.effects.shape == (subject.layers, 2)
    assert result.effects[-1, 1] == 1
    assert result.alignment.tolist() == [[2, 3], [6, 7]]


def test_the_price_is_told_first_and_may_stop_it(subject_called):
    class TooDear(Exception):
        pass

    told = []

    def price(cost):
        told.append(cost)
        raise TooDear

    with pytest.raises(TooDear):
        patch(subject_called("llama"), CLEAN, CORRUPTED, Tokens(), price=price, progress=lambda *_: told.append("work"))
    assert len(told) == 1
    assert told[0].cells == 2 * 7
    assert told[0].seconds > 0
    assert told[0].bytes > 0


def test_progress_counts_every_cell(subject_called):
    seen = []
    patch(subject_called("llama"), CLEAN, CORRUPTED, Tokens(), donors=0, progress=lambda *both: seen.append(both))
    assert seen == [(n + 1, 14) for n in range(14)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"direction": "sideways"}, "expected one of denoise, noise"),
        ({"layers": [5]}, r"out: layers=\[5\], expected some of those of llama that have it: \[0, 1\]"),
        ({"layers": []}, "expected some of those"),
        ({"donors": 1}, "expected 2 to 32"),
        ({"over": "attention.outs"}, r"layers have no attention.outs that may be replaced; they have .*attention.out"),
        ({"alignment": [(0, 9)]}, "pairs of token numbers below 7"),
        ({"alignment": []}, "pairs of token numbers"),
        ({"alignment": [(1, 1), (1, 1)]}, "different pairs of token numbers"),
        ({"layers": [1, 1]}, "each once"),
    ],
)
def test_what_cannot_be_is_said(subject_called, settings, message):
    with pytest.raises(InspectionError, match=message):
        patch(subject_called("llama"), CLEAN, CORRUPTED, Tokens(), **settings)


def test_what_would_hold_too_much_is_refused_before_it_is_computed(subject_called, monkeypatch):
    subject = subject_called("llama")
    monkeypatch.setattr("ouvert.inspection.patching.MOST_HELD", 1_000_000)
    with pytest.raises(InspectionError, match=r"512 tokens, 2 layers and 32 donors would hold \d+ bytes"):
        patch(subject, [5] * 512, [6] * 512, Tokens(), donors=32)


def test_it_may_be_stopped_while_donors_are_run(subject_called):
    calls = []

    def progress(done, total):
        calls.append((done, total))
        raise InterruptedError

    with pytest.raises(InterruptedError):
        patch(subject_called("llama"), CLEAN, CORRUPTED, Tokens(), progress=progress)
    assert calls == [(0, 14)]


def test_prompts_without_a_difference_have_nothing_to_explain(subject_called):
    with pytest.raises(InspectionError, match="after both prompts, so there is no difference to explain"):
        patch(subject_called("llama"), CLEAN, CORRUPTED, Tokens(5, 5))


def test_its_json_is_read_back(subject_called):
    result = patch(subject_called("llama"), CLEAN, CORRUPTED, Tokens(), donors=2)
    facts = json.loads(json.dumps(result.json()))
    assert (facts["view"], facts["kind"]) == ("patch", "intervention")
    again = Patching.from_json(facts)
    assert json.loads(json.dumps(again.json())) == facts
    assert "attention" in facts["how"]["lines"][0]["text"] or facts["how"]["lines"]


@pytest.mark.parametrize("name", ["patch", "ablation", "microscope"])
def test_the_samples_for_the_page_have_the_form_of_today(name):
    from ouvert.inspection import Ablation, Microscope

    facts = json.loads((Path(__file__).parent / "samples" / f"{name}.json").read_text(encoding="utf-8"))
    view = {"patch": Patching, "ablation": Ablation, "microscope": Microscope}[name].from_json(facts)
    assert json.loads(json.dumps(view.json())) == facts
    assert view.table()
