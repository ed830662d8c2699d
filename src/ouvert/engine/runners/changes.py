"""What a variant's edits change in one model. Adapters are refused: no runner computes any yet."""

from collections.abc import Mapping
from functools import lru_cache

from ouvert.arithmetic import Change
from ouvert.engine.interface import EngineError
from ouvert.engine.variant import BASE, Variant
from ouvert.models import EditError, Model, changes_of

Changes = Mapping[str, tuple[Change, ...]]  # by the full name of the value

NONE: Changes = {}
VARIANTS_KEPT = 16  # that were last asked for


class VariantChanges:
    """`of` may be called from any thread."""

    def __init__(self, model: Model, runner: str) -> None:
        self._model, self._runner = model, runner
        self._made = lru_cache(VARIANTS_KEPT)(self._make)

    def of(self, variant: Variant) -> Changes:
        """Raises EngineError that names what this model or runner does not compute of a variant."""
        return NONE if variant == BASE else self._made(variant)

    def absorbed(self, variant: Variant) -> bool:
        """Whether a variant edits a value that the expanded form of latent attention never makes: the query in latent
        space."""
        return any(name.endswith(".attention.q") for name in self.of(variant))

    def _make(self, variant: Variant) -> Changes:
        if variant.adapters:
            raise EngineError(
                f"beginning a sequence: {', '.join(Variant(variant.adapters).parts)}: {self._runner} computes this "
                "model without adapters. Leave them out."
            )
        try:
            return changes_of(variant.edits, self._model)
        except EditError as problem:
            raise EngineError(str(problem)) from problem
