"""Weights packed into memory, for a model whose packed file is not kept."""

from collections.abc import Mapping

from ouvert import kernels
from ouvert.models import Parameter, Weight
from ouvert.packed.placement import Placement, placed_chunks, placement_of
from ouvert.weights import encoded_bytes


class InMemory:
    """Packs each parameter into memory of its own: the same bytes that a packed file would hold (`models.Places`).

    Making one raises nothing.
    """

    def __init__(self, threads: int = 1, placements: Mapping[str, Placement] | None = None) -> None:
        """`threads` pack; the bytes are the same for any number. `placements`: of the model at a precision; left out,
        matrices keep their encodings."""
        self._threads, self._placements = threads, placements or {}

    def place(self, parameter: Parameter) -> Weight:
        """A kernels.Packed matrix or a float32 array. Raises CheckpointError for a parameter that its
        layout cannot hold."""
        placement = self._placements.get(parameter.name) or placement_of(parameter)
        data = kernels.aligned_bytes(encoded_bytes(*placement.stored_as))
        filled = 0
        for chunk, _, _ in placed_chunks(parameter, self._threads, placement.layout):
            data[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        return placement.weight(data)
