"""How much an adapter adds to each layer, beside the weights that it is added to: an observation, and no cause."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ouvert.arithmetic import LowRank
from ouvert.kernels import Packed, unpack
from ouvert.models import adaptable

ROWS = 64  # of a weight, from which its size is estimated: evenly over it


def sizes_added(pairs: Mapping[str, LowRank], model: Any) -> dict[str, float]:
    """By layer ("layers.3"): the Frobenius norm of what is added, as a share of that of the weights it is added to.

    `pairs`: an adapter's, by our names; `model`: the model whose weights they are. Weights are measured by 64 rows of
    each, so that a share is good to about a tenth of itself. Raises nothing for an adapter of this model.
    """
    weights = adaptable(model)
    added: dict[str, float] = {}
    there: dict[str, float] = {}
    for name, pair in pairs.items():
        layer = ".".join(name.split(".")[:2])
        added[layer] = added.get(layer, 0.0) + squared_norm(pair)
        there[layer] = there.get(layer, 0.0) + squared_size(weights[name], pair)
    return {layer: float(np.sqrt(added[layer] / max(there[layer], 1e-30))) for layer in added}


def squared_norm(pair: LowRank) -> float:
    """Of scale · B A, added up over experts: tr(BᵀB · AAᵀ), without the product itself. Raises nothing."""
    a, b = (each.astype(np.float64).reshape(-1, *each.shape[-2:]) for each in (pair.a, pair.b))
    inner = np.einsum("eor,eos->ers", b, b) * np.einsum("eri,esi->ers", a, a)
    return float(pair.scale**2 * inner.sum())


def squared_size(weight: Any, pair: LowRank) -> float:
    """Of the weight that it is added to, from some of its rows; of experts, of those that are adapted."""
    if not isinstance(weight, Packed):
        whole = np.asarray(weight, dtype=np.float64)
        return float(((whole if pair.experts is None else whole[list(pair.experts)]) ** 2).sum())
    size = len(weight.data) // weight.experts
    which = np.unique(np.linspace(0, weight.rows - 1, min(ROWS, weight.rows)).astype(np.int32))
    squares = 0.0
    for expert in pair.experts if pair.experts is not None else (0,):
        part = weight.data[expert * size : (expert + 1) * size]
        rows = unpack(weight.layout, part, weight.rows, weight.columns, which).astype(np.float64)
        squares += float((rows**2).sum()) * weight.rows / len(which)
    return squares
