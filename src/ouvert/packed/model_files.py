"""From a path to a model's weights, configuration and language: what everything that computes or looks inside opens."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ouvert import kernels, models
from ouvert.models import Family, Model, Parameter, Places
from ouvert.packed.kept import PackedFile, packed_weights
from ouvert.packed.memory import InMemory
from ouvert.packed.on_demand import WeightsOnDemand, looked_up_only
from ouvert.packed.placement import Placement, placements
from ouvert.packed.precision import STORED, AskedPrecision, Precision, settled
from ouvert.packed.watch import WeightsWatch, watch_over_source
from ouvert.weights import Checkpoint, encoded_bytes, open_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedModel:
    """A model ready to compute, and the watch over the files that its weights lie in or came from.

    `precision` is that of the weights as they are placed. `packed_digest` is that of the packed file's pieces; None
    where the weights were read from the source. `experts`: those that are read on demand; None where all are in memory.
    """

    model: Model
    watch: WeightsWatch
    precision: Precision
    packed_digest: str | None
    experts: "kernels.ExpertCache | None" = None

    def close(self) -> None:
        """End the watch. To be called after the last step. Raises nothing."""
        self.watch.close()


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model's files, opened and recognised once. A context manager; what was placed stays usable after its end.

    `folder` and `metadata` are where a model says how it reads and writes (`chat.Language`): the folder in which
    safetensors files have their companions, None of GGUF, and a GGUF file's keys and values.
    """

    path: Path
    checkpoint: Checkpoint
    family: Family
    config: Any

    @property
    def folder(self) -> Path | None:
        """The folder of a safetensors file and its companions (tokenizer, template); None for GGUF. Raises nothing."""
        return self.checkpoint.folder

    @property
    def metadata(self) -> Mapping[str, Any]:
        """A GGUF file's keys and values, or the strings of safetensors' `__metadata__`. Raises nothing."""
        return self.checkpoint.metadata

    @property
    def trained_context(self) -> int:
        """The longest sequence, in tokens, that its makers promise. Raises nothing."""
        return int(self.config.max_position_embeddings)

    @property
    def value_count(self) -> int:
        """How many numbers the tensors hold together. Raises nothing."""
        return sum(prod(tensor.shape) for tensor in self.checkpoint.tensors.values())

    @property
    def bytes(self) -> int:
        """How many bytes all tensors take, as they are stored. Raises nothing."""
        return sum(tensor.data.nbytes for tensor in self.checkpoint.tensors.values())

    @cached_property
    def parameters(self) -> list[Parameter]:
        """Raises CheckpointError for tensors that do not fit the configuration."""
        return self.family.parameters(self.config, self.checkpoint)

    def settled(self, precision: AskedPrecision | None) -> Precision:
        """The precision at which this model is placed where `precision` is asked for, or nobody says one (None).

        Raises CheckpointError for more bits than its weights have, unless they are a limit.
        """
        return settled(self.parameters, precision, self.path)

    def placements(self, precision: AskedPrecision | None) -> Mapping[str, Placement]:
        """How each parameter is placed at that precision. Raises CheckpointError as `settled` does."""
        return placements(self.parameters, self.settled(precision))

    def placed_bytes(self, precision: AskedPrecision | None) -> int:
        """How many bytes all parameters take once they are packed at that precision.

        Raises CheckpointError as `settled` does, and ImportError without the native kernels.
        """
        return sum(encoded_bytes(*each.stored_as) for each in self.placements(precision).values())

    def place_in_memory(self, threads: int, precision: AskedPrecision | None, digest: str | None = None) -> PlacedModel:
        """`place` with weights that `threads` pack into memory, at that precision.

        Raises CheckpointError as `place` and `settled` do, and for a parameter that its layout cannot hold.
        """
        settled = self.settled(precision)
        places = InMemory(threads, placements(self.parameters, settled))
        return self._placed(places, watch_over_source(self.checkpoint, digest), settled, packed_digest=None)

    def place(self, places: Places, digest: str | None = None) -> PlacedModel:
        """The model with weights read from these files and placed by `places`, in their encodings. `digest`: that of
        the files, if known.

        The watch is over these files. Raises CheckpointError for tensors that do not fit the configuration.
        """
        return self._placed(places, watch_over_source(self.checkpoint, digest), STORED, packed_digest=None)

    def place_packed(
        self, file: PackedFile, threads: int, precision: AskedPrecision | None = None, expert_bytes: int | None = None
    ) -> PlacedModel:
        """The model with its weights in a packed file, memory-mapped; written now, by `threads`, if it is not there.
        `precision`: that of its weights; left out, the usual one (docs/formats/packed.md).

        With `expert_bytes`, experts are read from the file when they are chosen, so many bytes of them are kept, and
        the rest is copied into memory. The watch is over the packed file. Raises CheckpointError if it cannot be
        written or read, if these files are not what their digest says, and for more bits than its weights have.
        """
        settled = self.settled(precision)
        weights, watch = packed_weights(self.checkpoint, self.parameters, file, threads, settled)
        if expert_bytes is None:
            return self._placed(weights, watch, settled, packed_digest=weights.digest)
        try:
            on_demand = WeightsOnDemand(weights, expert_bytes, looked_up_only(self.parameters))
        except BaseException:
            watch.close()
            raise
        watch.spare_disk_for(on_demand.cache)
        return self._placed(on_demand, watch, settled, packed_digest=weights.digest, experts=on_demand.cache)

    def close(self) -> None:
        """Let go of the files. May be called twice. Raises nothing."""
        self.checkpoint.close()

    def _placed(
        self,
        places: Places,
        watch: WeightsWatch,
        precision: Precision,
        packed_digest: str | None,
        experts: "kernels.ExpertCache | None" = None,
    ) -> PlacedModel:
        try:
            model = models.place(self.family, self.config, self.parameters, places)
        except BaseException:
            watch.close()
            raise
        return PlacedModel(model=model, watch=watch, precision=precision, packed_digest=packed_digest, experts=experts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_model(path: Path) -> ModelFiles:
    """The model at `path`: a GGUF or safetensors file, or a folder with one. Its weights are mapped, not read.

    Raises CheckpointError for files that cannot be used.
    """
    checkpoint = open_checkpoint(path)
    try:
        family, config = models.recognise(checkpoint)
    except BaseException:
        checkpoint.close()
        raise
    return ModelFiles(path=path, checkpoint=checkpoint, family=family, config=config)
