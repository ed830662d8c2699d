"""From a path to a model's weights, configuration and language: what everything that computes or looks inside opens."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ouvert import models
from ouvert.models import Family, Model, Parameter, Places
from ouvert.packed.kept import PackedFile, packed_weights
from ouvert.packed.watch import WeightsWatch, watch_over_source
from ouvert.weights import Checkpoint, open_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedModel:
    """A model ready to compute, and the watch over the files that its weights lie in or came from.

    `packed_digest` is that of the packed file's pieces; None where the weights were read from the source.
    """

    model: Model
    watch: WeightsWatch
    packed_digest: str | None

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

    def place(self, places: Places, digest: str | None = None) -> PlacedModel:
        """The model with weights read from these files and placed by `places`. `digest`: that of the files, if known.

        The watch is over these files. Raises CheckpointError for tensors that do not fit the configuration.
        """
        return self._placed(places, watch_over_source(self.checkpoint, digest), packed_digest=None)

    def place_packed(self, file: PackedFile, threads: int) -> PlacedModel:
        """The model with its weights in a packed file, memory-mapped; written now, by `threads`, if it is not there.

        The watch is over the packed file. Raises CheckpointError if it cannot be written, or if these files are not
        what their digest says.
        """
        weights, watch = packed_weights(self.checkpoint, self.parameters, file, threads)
        return self._placed(weights, watch, packed_digest=weights.digest)

    def close(self) -> None:
        """Let go of the files. May be called twice. Raises nothing."""
        self.checkpoint.close()

    def _placed(self, places: Places, watch: WeightsWatch, packed_digest: str | None) -> PlacedModel:
        try:
            model = models.place(self.family, self.config, self.parameters, places)
        except BaseException:
            watch.close()
            raise
        return PlacedModel(model=model, watch=watch, packed_digest=packed_digest)

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
