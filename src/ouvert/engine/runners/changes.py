"""What a variant's edits change in one model."""

from collections.abc import Mapping
from functools import lru_cache

from ouvert.arithmetic import Change
from ouvert.engine.interface import EngineError
from ouvert.engine.variant import Variant
from ouvert.models import Edit, EditError, Model, changes_of

Changes = Mapping[str, tuple[Change, ...]]  # by the full name of the value

NONE: Changes = {}
VARIANTS_KEPT = 16  # whose edits were last asked for


class VariantChanges:
    """`of` may be called from any thread."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._made = lru_cache(VARIANTS_KEPT)(self._make)

    def of(self, variant: Variant) -> Changes:
        """Raises EngineError that names what this model does not compute of a variant's edits."""
        return self._made(variant.edits) if variant.edits else NONE

    def absorbed(self, variant: Variant) -> bool:
        """Whether a variant edits a value that the expanded form of latent attention never makes: the query in latent
        space."""
        return any(name.endswith(".attention.q") for name in self.of(variant))

    def _make(self, edits: tuple[Edit, ...]) -> Changes:
        try:
            return changes_of(edits, self._model)
        except EditError as problem:
            raise EngineError(str(problem)) from problem
