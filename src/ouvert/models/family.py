"""What a family offers: how it reads its configuration, names its tensors, and computes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.arithmetic import Tap
from ouvert.models.memory import Memory
from ouvert.models.operations import Batch, Operations, Value, Watch
from ouvert.models.parameters import Parameter
from ouvert.weights import Checkpoint, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One architecture. All functions raise weights.CheckpointError for what they do not honour.

    `forward(config, parameters, batch, ops, tap)` gives the logits of the wanted tokens, where `parameters` is what
    `assemble(config, placed)` makes of the weights placed under our names. A family that `embeds` gives (wanted,
    hidden) instead, of which the last token's is the embedding of a text.
    """

    name: str
    model_types: frozenset[str]  # config.json's model_type
    gguf_architectures: frozenset[str]  # general.architecture
    config_from_hf: Callable[[Mapping[str, Any], str], Any]  # config.json, its path
    config_from_gguf: Callable[[Mapping[str, Any], Mapping[str, Tensor], str], Any]  # metadata, tensors, path
    parameters: Callable[[Any, Checkpoint], list[Parameter]]
    assemble: Callable[[Any, dict[str, Any]], Any]
    forward: Callable[..., Value]
    embeds: bool = False

    def memories(self, config: Any) -> list[Memory]:
        """What each layer must remember of a sequence."""
        memories: list[Memory] = config.memories()
        return memories


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A family, a shape and placed weights: ready to compute."""

    family: Family
    config: Any
    parameters: Any

    @property
    def memories(self) -> list[Memory]:
        return self.family.memories(self.config)

    def forward(self, batch: Batch, ops: Operations, tap: Watch | None = None) -> Value:
        """Logits of the wanted tokens, (wanted, vocabulary). `ops` must be the ones the weights were placed with."""
        return self.family.forward(self.config, self.parameters, batch, ops, tap or Tap())
