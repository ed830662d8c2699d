"""The numbers that an adapter is kept and served with: float32 while it learns, rounded wherever it computes.

An update is often smaller than a step of 8 or 16 bits, so float32 masters are what the optimiser changes and a run
keeps. The forward pass, the answers of GRPO and the file take the masters rounded, and so does the backward pass; its
gradients go to the masters as they are (straight through). What was trained is then what is served, bit for bit.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ouvert.arithmetic import LowRank, as_mxint8
from ouvert.packed import Adapter
from ouvert.weights import encode

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, np.dtype[Any]]

AdapterPrecision = Literal["mxint8", "bf16", "float32"]


def rounded(numbers: Array, precision: AdapterPrecision) -> Array:
    """These float32 numbers as they are served, float32: to the nearest of 16 bits, or of 8 with a shared exponent, and
    to the even one of two. The same array where nothing is rounded. Raises CheckpointError for numbers that are not
    finite."""
    if precision == "float32":
        return numbers
    if precision == "mxint8" and np.isfinite(numbers).all():
        return as_mxint8(numbers)
    halves = encode("BF16", numbers).view(np.uint16)  # refuses what is not finite
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(numbers.shape)


def as_served(adapter: Adapter, precision: AdapterPrecision) -> Adapter:
    """An adapter of masters as it is served. Raises what `rounded` raises."""
    return Adapter({
        name: LowRank(rounded(pair.a, precision), rounded(pair.b, precision), pair.scale, pair.experts)
        for name, pair in adapter.pairs.items()
    })  # fmt: skip


class Served:
    """What is served of a learner's parameters, by their names: tensors that stay the same objects, so that weights can
    carry them. In float32 they are the parameters' own numbers. Making one raises nothing."""

    def __init__(self, precision: AdapterPrecision) -> None:
        self._precision = precision
        self._masters: dict[str, torch.nn.Parameter] = {}
        self._tensors: dict[str, torch.Tensor] = {}

    def add(self, name: str, master: "torch.nn.Parameter") -> "torch.Tensor":
        """What is served of this parameter, from the next `refresh` on. Raises nothing."""
        self._masters[name] = master
        served = master.detach() if self._precision == "float32" else master.detach().clone()
        self._tensors[name] = served
        return served

    def refresh(self) -> Mapping[str, "torch.Tensor"]:
        """All of them, as the parameters are now. Raises what `rounded` raises."""
        if self._precision != "float32":
            for name, master in self._masters.items():
                self._tensors[name].numpy()[...] = rounded(master.detach().numpy(), self._precision)
        return self._tensors
