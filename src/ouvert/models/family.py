"""What a family offers: how it reads its configuration, names its tensors, and computes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ouvert.arithmetic import Tap
from ouvert.models.adaptable import adaptable
from ouvert.models.memory import Memory
from ouvert.models.operations import Batch, Operations, RunLayer, Value, Watch, Weight
from ouvert.models.parameters import Parameter
from ouvert.models.taps import CheckedTap
from ouvert.weights import Checkpoint, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One architecture. All functions raise weights.CheckpointError for what they do not honour.

    `forward(config, parameters, batch, ops, tap)` gives the logits of the wanted tokens, where `parameters` is what
    `assemble(config, placed)` makes of the weights placed under our names. A family that `embeds` gives (wanted,
    hidden) instead, of which the last token's is the embedding of a text. `layers(config, parameters, batch, ops, tap)`
    gives its layers one by one, each a function of the residual stream; `forward` is made of them.
    """

    name: str
    model_types: frozenset[str]  # config.json's model_type
    gguf_architectures: frozenset[str]  # general.architecture
    config_from_hf: Callable[[Mapping[str, Any], str], Any]  # config.json, its path
    config_from_gguf: Callable[[Mapping[str, Any], Mapping[str, Tensor], str], Any]  # metadata, tensors, path
    parameters: Callable[[Any, Checkpoint], list[Parameter]]
    assemble: Callable[[Any, dict[str, Any]], Any]
    forward: Callable[..., Value]
    layers: Callable[..., list[RunLayer]]
    embeds: bool = False

    def memories(self, config: Any) -> list[Memory]:
        """What each layer must cache of a sequence. Raises nothing."""
        memories: list[Memory] = config.memories()
        return memories


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A family, a shape and placed weights: ready to compute."""

    family: Family
    config: Any
    parameters: Any = field(repr=False)  # all the weights: pages of numbers

    @property
    def memories(self) -> list[Memory]:
        """What each layer must cache of a sequence. Raises nothing."""
        return self.family.memories(self.config)

    @property
    def adaptable(self) -> dict[str, Weight]:
        """The weights that may carry an adapter, by name: `models.adaptable`. Raises nothing."""
        return adaptable(self)

    def forward(self, batch: Batch, ops: Operations, tap: Watch | None = None) -> Value:
        """Logits of the wanted tokens, (wanted, vocabulary). `ops` must take the weights as they were placed.

        `tap` sees the values of docs/formats/taps.md. Raises TapError if it replaces one that it may only look at.
        """
        return self.family.forward(self.config, self.parameters, batch, ops, self._checked(tap))

    def layers(self, batch: Batch, ops: Operations, tap: Watch | None = None) -> list[RunLayer]:
        """Its layers one by one: each maps the residual stream x, (tokens, hidden), to the next, of the same shape.

        x may be any: what a tap has kept (`embedding`, `layers.N.out`), or the same changed. A call appends the batch's
        tokens to that layer's cache, so each is called at most once for a batch. Running them in order on `embedding`
        computes what `forward` does, bit for bit. Raises TapError as `forward` does.
        """
        return self.family.layers(self.config, self.parameters, batch, ops, self._checked(tap))

    def _checked(self, tap: Watch | None) -> Watch:
        return Tap() if tap is None else CheckedTap(tap, self.family.name)
