"""Ablation against what it must give, and against plain NumPy."""

import json

import numpy as np
import pytest

from ouvert import arithmetic
from ouvert.inspection import InspectionError
from ouvert.inspection.ablation import Ablation, ablate
from ouvert.inspection.metrics import TextLogProbability

from .conftest import IDS, placed
from .test_patching import Tokens

PROMPT = IDS[:9]


class Changed(arithmetic.Tap):
    """The plain way: `change(value)` in the place of one value, while NumPy runs the whole graph."""

    def __init__(self, name, change, scope=""):
        self.name, self.change, self.scope = name, change, scope

    def __call__(self, name, value):
        return self.change(value) if self.scope + name == self.name else value

    def inside(self, scope):
        return Changed(self.name, self.change, f"{self.scope}{scope}.")


def in_plain_numpy(case, name, change):
    ops = arithmetic.Ops()
    model = placed(case, ops)

    def metric(tap=None):
        logits = model.forward(ops.begin([(ops.new_cache(model.memories), PROMPT)], "last"), ops, tap)
        return float(logits[-1, 5]) - float(logits[-1, 11])

    return metric(Changed(name, change)) - metric()


def test_a_silenced_head_is_a_head_silenced_in_numpy(exact, case):
    if "layers.0.attention.mixed" not in exact.names:
        with pytest.raises(InspectionError, match=r"ablation of heads: .* have no attention.mixed that may"):
            ablate(exact, PROMPT, Tokens())
        return
    result = ablate(exact, PROMPT, Tokens())
    heads = exact.model.config.num_attention_heads
    assert result.changes.shape == result.divergence.shape == (exact.layers, heads)
    for head in (0, heads - 1):

        def without(value, head=head):
            changed = value.reshape(len(value), heads, -1).copy()
            changed[:, head] = 0
            return changed.reshape(value.shape)

        expected = in_plain_numpy(case, "layers.0.attention.mixed", without)
        np.testing.assert_allclose(result.changes[0, head], expected, atol=2e-3)


@pytest.mark.parametrize("of", ["attention.out", "mlp.out", "experts.out", "mixer.out"])
def test_a_silenced_part_is_a_part_silenced_in_numpy(exact, case, of):
    if f"layers.1.{of}" not in exact.names:
        return  # refused: see patching
    result = ablate(exact, PROMPT, Tokens(), of=of, layers=[1])
    assert result.changes.shape == (1, 1)
    np.testing.assert_allclose(result.changes[0, 0], in_plain_numpy(case, f"layers.1.{of}", np.zeros_like), atol=2e-3)


def test_a_silenced_layer_lets_the_stream_pass(subject, served_logits):
    result = ablate(subject, PROMPT, Tokens(), of="layers")
    last = ablate(subject, PROMPT, Tokens(), of="layers", layers=[subject.layers - 1])
    assert result.changes[-1] == last.changes[0]
    assert (result.changes != 0).all()
    assert (result.divergence >= 0).all()


def test_an_expert_that_nobody_chose_changes_nothing_and_another_does(subject_called, in_numpy):
    subject = subject_called("qwen3_moe", exact=True)
    result = ablate(subject, PROMPT, Tokens(), of="experts")
    chosen = in_numpy("qwen3_moe", ["layers.1.experts.chosen"], PROMPT)["layers.1.experts.chosen"]
    for expert, change in enumerate(result.changes[0]):
        assert (change != 0) == (expert in chosen)
    some = int(chosen[0, 0])
    table = in_numpy("qwen3_moe", ["layers.1.experts.weights"], PROMPT)["layers.1.experts.weights"]
    expected = in_plain_numpy(
        "qwen3_moe", "layers.1.experts.weights", lambda _: np.where(chosen == some, 0, table).astype(np.float32)
    )
    np.testing.assert_allclose(result.changes[0, some], expected, atol=2e-3)


def test_what_a_head_said_at_the_same_text_changes_nothing(subject_called):
    """Resampled from itself: the planted no-change."""
    subject = subject_called("qwen2")
    for of in ("heads", "attention.out"):
        result = ablate(subject, PROMPT, Tokens(), of=of, replaced_by="resample", others=[PROMPT, PROMPT])
        assert not result.changes.any()
        assert not result.spread.any()


def test_other_texts_give_a_mean_and_a_spread(subject_called):
    subject = subject_called("llama")
    others = [IDS[n : n + 9] for n in (3, 5, 8, 11)]
    resampled = ablate(subject, PROMPT, Tokens(), replaced_by="resample", others=others)
    assert (resampled.spread > 0).all()
    mean = ablate(subject, PROMPT, Tokens(), replaced_by="mean", others=others)
    zero = ablate(subject, PROMPT, Tokens())
    assert mean.spread is None
    assert (mean.changes != zero.changes).any()


def test_a_text_can_be_what_is_measured(subject_called, served_logits):
    subject = subject_called("llama")
    result = ablate(subject, PROMPT, TextLogProbability(4), layers=[0])
    rows = served_logits(subject, PROMPT)[3:8].astype(np.float64)
    logarithms = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    expected = logarithms[np.arange(5), PROMPT[4:]].mean()
    assert result.prompt["metric"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"of": "neurons"}, "of='neurons', expected heads, experts, layers"),
        ({"replaced_by": "nothing"}, "expected one of zero, mean, resample"),
        ({"replaced_by": "mean"}, "needs 2 or more other texts of at least 9 tokens, found 0"),
        ({"of": "experts"}, "ablation of experts: .* have no experts.weights"),
        ({"layers": [7]}, r"layers=\[7\], expected some of those of llama that have it: \[0, 1\]"),
    ],
)
def test_what_cannot_be_is_said(subject_called, settings, message):
    with pytest.raises(InspectionError, match=message):
        ablate(subject_called("llama"), PROMPT, Tokens(), **settings)


def test_its_json_is_read_back(subject_called):
    result = ablate(subject_called("llama"), PROMPT, Tokens())
    facts = json.loads(json.dumps(result.json()))
    assert (facts["view"], facts["kind"], facts["replaced_by"]) == ("ablation", "intervention", "zero")
    assert json.loads(json.dumps(Ablation.from_json(facts).json())) == facts
    assert len(result.table()) == result.changes.size
