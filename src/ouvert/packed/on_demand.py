"""A packed file whose experts stay on disk and are read on demand; what every token needs is copied into memory."""

from collections.abc import Collection, Iterable

from ouvert import kernels
from ouvert.models import Parameter, Weight
from ouvert.packed.reading import AGAIN, PackedWeights
from ouvert.weights import CheckpointError


class WeightsOnDemand:
    """Places the parameters of a packed file (`models.Places`): experts stay in it, and so do embeddings that are only
    looked up; everything else is copied into memory, where no page of it can be dropped and read again.

    `cache` keeps the busiest experts. Raises CheckpointError where the file cannot be read in this way.
    """

    def __init__(self, weights: PackedWeights, expert_bytes: int, mapped: Collection[str]) -> None:
        """`expert_bytes` of experts are kept in memory: `kernels.ExpertCache`. `mapped`: parameters that stay
        memory-mapped."""
        self._weights, self._mapped = weights, mapped
        try:
            self.cache = kernels.ExpertCache(weights.mapped.descriptor, expert_bytes)
        except OSError as problem:
            raise CheckpointError(
                f"{weights.mapped.path}: its experts cannot be read on demand: {problem} Allow more memory, so that "
                "all of it fits."
            ) from problem

    def place(self, parameter: Parameter) -> Weight:
        """Raises CheckpointError if the file does not hold it in the expected shape, or cannot be read."""
        if parameter.name in self._mapped:
            return self._weights.place(parameter)
        return self._stored(parameter) if parameter.routed else self._copy(parameter)

    def _stored(self, parameter: Parameter) -> "kernels.StoredExperts":
        placed, start, _ = self._weights.place_in_file(parameter)
        assert placed.layout is not None  # noqa: S101 - a matrix
        experts, rows, columns = placed.shape
        return kernels.StoredExperts(placed.layout, rows, columns, experts, self.cache, start)

    def _copy(self, parameter: Parameter) -> Weight:
        placed, start, size = self._weights.place_in_file(parameter)
        try:
            return placed.weight(self.cache.read(start, size))
        except OSError as problem:
            raise CheckpointError(f"{self._weights.mapped.path}: {parameter.name}: {problem} {AGAIN}") from problem


def looked_up_only(parameters: Iterable[Parameter]) -> frozenset[str]:
    """Names of the embeddings that no other parameter shares: of these, rows are looked up and nothing is multiplied.

    Raises nothing.
    """
    every = list(parameters)
    shared = {each.same_as for each in every}
    return frozenset(each.name for each in every if each.kind == "embedding" and each.name not in shared)
