"""Back through the layers of a model, one by one from the top: each is run again, and its gradients are asked for.

Nothing of a layer is kept but what enters it, so the memory that is needed is that of one layer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ouvert.kernels import Products
from ouvert.models import Model
from ouvert.tuning.operations import TorchOps, pasts_of

Array = np.ndarray[Any, np.dtype[Any]]

# By name of the weight and expert (None: it has none): the gradients by a and by b.
OfPairs = Mapping[tuple[str, int | None], tuple[torch.Tensor, torch.Tensor]]


@dataclass(eq=False)
class Kept:
    """What the forward pass of some sequences leaves, their tokens one after the other.

    `entering` has, of each layer from the lowest that is needed on, the stream (tokens, hidden) that enters it, and
    last the one that leaves the last layer; what a layer needed is let go of once it is done. `chosen`: the experts of
    each of these layers, int64 (tokens, top_k); None where it has none, or is to choose again.
    """

    ids: list[Array]
    entering: list[Array | None]
    chosen: list[torch.Tensor | None]

    @property
    def last(self) -> Array:
        """The stream that leaves the last layer, (tokens, hidden). Raises nothing before the way back begins."""
        stream = self.entering[-1]
        if stream is None:
            raise AssertionError("the end of the stream was let go of")
        return stream


class Layers:
    """The layers of a model whose weights carry adapters (`operations.Adapted`), from number `lowest` on, below which
    nothing is learnt. Several threads may use it at once. Making one raises nothing."""

    def __init__(self, model: Model, lowest: int, *, exact: bool) -> None:
        self.model, self.lowest, self.exact = model, lowest, exact
        self.count = len(model.parameters.layers)
        self._vectors: dict[int, Any] = {}  # norms and biases as tensors, for all operations
        layers = model.parameters.layers
        self._gated = frozenset(id(getattr(each, name, None)) for each in layers for name in ("gate", "up")) - {
            id(None)
        }

    def operations(self, products: Products) -> TorchOps:
        """The operations of one layer, or of all. Raises nothing."""
        return TorchOps(products=products, exact=self.exact, gated=self._gated, vectors=self._vectors)

    def begin(self, ops: TorchOps, ids: list[Array]) -> Any:
        """A batch of these sequences. Latent attention takes the expanded form, of which a backward pass needs least.
        Raises nothing."""
        return ops.begin(ids, [pasts_of(self.model.memories, expanded=len(each)) for each in ids])

    def gradients(self, kept: Kept, top: torch.Tensor, products: Products) -> Iterator[tuple[int, OfPairs]]:
        """(layer, its gradients), from the last layer down to the lowest. `top`: the gradient (tokens, hidden) by what
        leaves the last layer. Raises what the operations raise."""
        for n in reversed(range(self.lowest, self.count)):
            top, found = self._gradients(n, kept, top, products)
            yield n, found

    def _gradients(
        self, n: int, kept: Kept, gradient: torch.Tensor, products: Products
    ) -> tuple[torch.Tensor, OfPairs]:
        """Of layer n: the gradient by what enters it, and by its pairs."""
        at = n - self.lowest
        entering = kept.entering[at]
        if entering is None:
            raise AssertionError(f"what enters layer {n} was let go of")
        x = torch.from_numpy(entering).requires_grad_(n > self.lowest)
        ops = self.operations(products)
        ops.chosen = kept.chosen[at]
        ops.unread = getattr(self.model.parameters.layers[n], "down", None)  # only what leaves the layer comes of it
        y = self.model.layers(self.begin(ops, kept.ids), ops)[n](x)
        kept.entering[at + 1] = None
        pairs = list(ops.leaves.values())
        wanted = [x] * x.requires_grad + [each for pair in pairs for each in pair]
        found = list(torch.autograd.grad(y, wanted, gradient)) if wanted else []
        below = found.pop(0) if x.requires_grad else gradient
        return below, dict(zip(ops.leaves, zip(found[::2], found[1::2], strict=True), strict=True))
