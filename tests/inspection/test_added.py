"""How much an adapter adds to each layer, held to the product written out."""

import numpy as np
import pytest

from ouvert import inspection
from ouvert.arithmetic import LowRank
from ouvert.kernels import unpack
from ouvert.models import adaptable

RANK = 3


def written_out(weight):
    """(experts, rows, columns), every row of it."""
    size = len(weight.data) // weight.experts
    parts = [weight.data[n * size : (n + 1) * size] for n in range(weight.experts)]
    return np.stack([unpack(weight.layout, part, weight.rows, weight.columns) for part in parts])


@pytest.mark.parametrize("case", ["llama", "qwen3_moe", "gpt_oss-mxfp4"])
def test_sizes_are_those_of_the_product_written_out(subject_called, case):
    model, random = subject_called(case).model, np.random.default_rng(5)
    pairs, added, there = {}, {}, {}
    for name, weight in adaptable(model).items():
        experts = (0, weight.experts - 1) if weight.experts > 1 else None
        lead = () if experts is None else (2,)
        a = random.normal(size=(*lead, RANK, weight.columns)).astype("f4")
        b = random.normal(size=(*lead, weight.rows, RANK)).astype("f4")
        pairs[name] = pair = LowRank(a, b, 0.01, experts)
        layer = ".".join(name.split(".")[:2])
        added[layer] = added.get(layer, 0.0) + float(((pair.scale * (b @ a)) ** 2).sum())
        whole = written_out(weight)
        there[layer] = there.get(layer, 0.0) + float(np.square(whole[list(experts)] if experts else whole).sum())
    found = inspection.sizes_added(pairs, model)
    assert found.keys() == added.keys()
    for layer, share in found.items():
        # Rows are sampled only in weights of more than 64; these have at most as many or a few times more.
        assert share == pytest.approx((added[layer] / there[layer]) ** 0.5, rel=0.1)


def test_an_adapter_of_one_layer_says_nothing_of_others(subject_called):
    model = subject_called("llama").model
    weight = adaptable(model)["layers.1.q"]
    pair = LowRank(np.ones((1, weight.columns), "f4"), np.ones((weight.rows, 1), "f4"), 1.0)
    assert inspection.sizes_added({"layers.1.q": pair}, model).keys() == {"layers.1"}
