"""What a run begins with: which weights are adapted, and with which numbers."""

from pathlib import Path

import numpy as np
import pytest

from ouvert import tuning
from ouvert.tuning.recipe import AdapterShape

GOLDENS = Path(__file__).parents[1] / "goldens" / "models"
SEQUENCES = [np.random.default_rng(1).integers(0, 64, length, dtype=np.int32) for length in (40, 3, 21)]


@pytest.fixture
def open_tiny():
    opened = []

    def open_it(family):
        opened.append(tuning.open_base(GOLDENS / family / "model.safetensors", threads=1))
        return opened[-1]

    yield open_it
    for each in opened:
        each.close()


def test_an_adapter_begins_as_pefts_does_and_adds_nothing(open_tiny):
    adapter = tuning.new_adapter(open_tiny("llama").model, AdapterShape(rank=5, alpha=10), seed=20)
    assert adapter.changes_nothing
    assert {name.split(".")[2] for name in adapter.pairs} == {"q", "k", "v", "o", "gate", "up", "down"}
    for pair in adapter.pairs.values():
        bound = pair.a.shape[1] ** -0.5
        assert pair.scale == 2
        assert 0.9 * bound < np.abs(pair.a).max() <= bound
        assert not pair.b.any()


def test_numbers_follow_from_the_seed(open_tiny):
    model = open_tiny("qwen3").model
    one, again, other = (tuning.new_adapter(model, AdapterShape(), seed).digest for seed in (1, 1, 2))
    assert one == again != other


def test_a_weight_begins_alike_whatever_else_is_adapted(open_tiny):
    model = open_tiny("qwen3").model
    whole, upper = (tuning.new_adapter(model, AdapterShape(layers=layers), 1) for layers in ("all", "upper"))
    assert {name.split(".")[1] for name in upper.pairs} == {"1"}
    assert all(np.array_equal(pair.a, whole.pairs[name].a) for name, pair in upper.pairs.items())


def test_the_scale_of_a_stabilised_rank(open_tiny):
    shape = AdapterShape(rank=4, alpha=6, rank_stabilised=True)
    assert {pair.scale for pair in tuning.new_adapter(open_tiny("llama").model, shape, 1).pairs.values()} == {3.0}


@pytest.mark.parametrize("family", ["gpt_oss", "mixtral", "qwen3_moe", "deepseek_v3"])
def test_the_busiest_experts_of_the_data_are_adapted(family, open_tiny):
    base = open_tiny(family)
    counts = tuning.routed(base, SEQUENCES)
    adapter = tuning.begin_adapter(base, AdapterShape(experts="busiest 0.4", expert_rank=2), 1, SEQUENCES)
    top_k = base.model.config.num_experts_per_tok
    assert counts
    for n, of_layer in counts.items():
        assert of_layer.sum() == top_k * sum(map(len, SEQUENCES))
        pairs = [pair for name, pair in adapter.pairs.items() if name.startswith(f"layers.{n}.") and pair.experts]
        assert len(pairs) == 3
        chosen = list(pairs[0].experts)
        assert len(chosen) == round(0.4 * len(of_layer))
        assert of_layer[chosen].min() >= np.delete(of_layer, chosen).max()
        assert {pair.experts for pair in pairs} == {tuple(chosen)}
        assert {pair.rank for pair in pairs} == {2}


@pytest.mark.parametrize(("asked", "expected"), [("all", (0, 1, 2, 3, 4)), ("none", None), ("3 1", (1, 3))])
def test_experts_are_adapted_as_they_are_named(asked, expected, open_tiny):
    adapter = tuning.begin_adapter(open_tiny("mixtral"), AdapterShape(experts=asked), 1, SEQUENCES)
    assert adapter.pairs["layers.0.q"].experts is None
    assert (adapter.pairs["layers.1.up"].experts if expected else adapter.pairs.get("layers.1.up")) == expected


def test_an_expert_that_there_is_not_is_refused(open_tiny):
    with pytest.raises(tuning.TuningError, match=r"there are 5 in each layer, expected numbers from 0 to 4"):
        tuning.begin_adapter(open_tiny("mixtral"), AdapterShape(experts="1 5"), 1, SEQUENCES)


def test_the_table_has_every_number_that_is_trained(open_tiny):
    adapter = tuning.begin_adapter(open_tiny("mixtral"), AdapterShape(experts="0 2", expert_rank=3), 1, SEQUENCES)
    table = {row.name: row for row in tuning.table_of(adapter)}
    assert sum(row.numbers for row in table.values()) == adapter.parameters
    gate = table["layers.0.gate"]
    assert (gate.shape, gate.rank, gate.experts, gate.numbers) == ((22, 30), 3, (0, 2), 2 * 3 * (22 + 30))


@pytest.mark.parametrize("family", ["mamba", "mamba2", "falcon_mamba"])
def test_a_family_without_a_way_back_is_refused_by_name(family):
    name = "mamba2" if family == "mamba2" else "mamba"
    with pytest.raises(tuning.TuningError, match=f"of the family {name}, whose scan has no backward pass yet"):
        tuning.open_base(GOLDENS / family / "model.safetensors", threads=1)
