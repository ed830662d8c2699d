"""What a method of learning asks of a model that is being adapted. `tuning.gradient` has the one that computes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ouvert.packed import Adapter

if TYPE_CHECKING:
    import torch

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """The loss of some sequences, and how it changes with their log-probabilities.

    value      added up over all calls of an optimiser's step it is the loss of that step
    gradients  for each sequence float32 (tokens,): the derivative of value by the log-probability of token i given what
               stands before it; 0 where nothing is trained, and always for the first
    metrics    what is worth telling, by name: sums over this call
    """

    value: float
    gradients: Sequence[Array]
    metrics: Mapping[str, float] = field(default_factory=dict)


# Log-probabilities of each sequence's tokens, float64 (tokens,) with 0 for the first -> their loss.
LossOf = Callable[[Sequence[Array]], Loss]


class Learner(Protocol):
    """A model and the adapter that it is learning. Not for use from several threads at once. `between` is called often
    while it computes: it may wait for somebody else, or raise where somebody asked to stop."""

    between: Callable[[], None]

    @property
    def parameters(self) -> "Mapping[str, torch.nn.Parameter]":
        """What is trained, float32, by name: "layers.3.q.a", "layers.3.q.b". Gradients add up in `.grad`. Raises
        nothing."""

    @property
    def adapter(self) -> Adapter:
        """The adapter as it is now: a copy. Raises nothing."""

    def log_probabilities(
        self, sequences: Sequence[Array], *, adapted: bool = True, wanted: Sequence[Array] | None = None
    ) -> list[Array]:
        """float64 (tokens,) of each sequence of ids, int32 (tokens,), as the server gives them, bit for bit. Without
        `adapted`, those of the bare model. `wanted`: of each sequence (tokens,), not 0 where anybody looks at the
        log-probability of that token; the others are 0, and cost nothing at the head. Left out, all are wanted. Raises
        ValueError for what is no sequence of this model's ids."""

    def learn(self, sequences: Sequence[Array], loss: LossOf, *, wanted: Sequence[Array] | None = None) -> Loss:
        """Compute the sequences, ask `loss`, and add the gradients to those of the parameters. What is in one call is
        computed together: several sequences side by side, never one seeing another. `wanted` as `log_probabilities` has
        it: the loss gets 0 for the other tokens, and gives 0 for them.

        Raises ValueError as `log_probabilities` does, and for gradients that do not fit the sequences.
        """
