"""A runner over a native program. Its sequences and pages are the program's own."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ouvert.arithmetic import LowRank
from ouvert.engine.runners.adapters import RunnerAdapters
from ouvert.engine.runners.changes import Changes, VariantChanges
from ouvert.engine.runners.interface import Wanted, shown_of, unknown_names
from ouvert.engine.variant import BASE, Variant
from ouvert.kernels import ExpertReads, Page
from ouvert.kernels import Sequence as NativeSequence
from ouvert.models import Model

if TYPE_CHECKING:
    from ouvert.kernels import Adapters, ExpertCache, Program, Programs


class NativeRunner:
    """A token's logits are the same bit for bit: see `kernels.Program`. Variants of a model share
    steps."""

    def __init__(self, model: Model, programs: "Programs", experts: "ExpertCache | None" = None) -> None:
        """`programs` are those of the model, and closed with the runner. `experts`: those that they read from a
        file."""
        self.programs, self._model, self._experts = programs, model, experts
        self.program = program = programs.plain
        self.threads, self.instruction_set = program.threads, program.instruction_set
        self.vocabulary_size, self.width = program.vocabulary_size, program.width
        self.cache_type: str = program.cache_type
        self._changes, self.adapters = VariantChanges(model), RunnerAdapters(model, handle_of)
        self.page_tokens, self.page_bytes = program.page_tokens, program.page_bytes

    @property
    def cache_bytes_in_use(self) -> int:
        return self.program.cache_bytes_in_use

    @property
    def expert_reads(self) -> ExpertReads | None:
        return None if self._experts is None else self._experts.reads()

    def check_variant(self, variant: Variant) -> object:
        held = self.adapters.hold(variant)
        self._changes.of(variant)
        return held

    def expands(self, variant: Variant) -> bool:
        return self.program.expands and not self._changes.absorbed(variant)

    def new_sequence(self, capacity: int, variant: Variant = BASE) -> NativeSequence:
        changes, adapters = self._changes.of(variant), self.adapters.of(variant)
        return varied(self.program.new_sequence(capacity), changes, adapters)

    def page_from(self, data: Any) -> Page:
        return self.program.page_from(data)

    def resume(self, pages: Sequence[Page], length: int, capacity: int, variant: Variant = BASE) -> NativeSequence:
        changes, adapters = self._changes.of(variant), self.adapters.of(variant)
        return varied(self.program.resume(pages, length, capacity), changes, adapters)

    def cache_bytes(self, tokens: int) -> int:
        return self.program.cache_bytes(tokens)

    def step(self, work: Sequence[tuple[NativeSequence, np.ndarray]], wanted: Wanted | Sequence[Wanted]) -> np.ndarray:
        return self._program_for(work).step(work, wanted)

    def check_names(self, names: Iterable[str]) -> None:
        if (problem := unknown_names(names, self._model)) is not None:
            raise problem

    @cached_property
    def shown(self) -> Mapping[str, int]:
        return shown_of(self._model)

    def step_watched(
        self,
        work: Sequence[tuple[NativeSequence, np.ndarray]],
        wanted: Wanted | Sequence[Wanted],
        names: frozenset[str],
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        program = self._program_for(work, names)
        rows = program.step(work, wanted)
        return rows, {name: program.seen(name) for name in names}

    def _program_for(
        self, work: Sequence[tuple[NativeSequence, np.ndarray]], names: frozenset[str] = frozenset()
    ) -> "Program":
        adapted = self.adapters.shapes if any(sequence.adapters for sequence, _ in work) else ()
        return self.programs.sibling(watch=names, places=places_of(work), adapted=adapted)

    def close(self) -> None:
        self.programs.close()
        self._experts = None


def handle_of(pairs: Mapping[str, LowRank]) -> "Adapters":
    from ouvert.kernels import Adapters  # where there are no native kernels, this file is imported all the same

    return Adapters(pairs)


def varied(sequence: NativeSequence, changes: Changes, adapters: "tuple[Adapters, ...]") -> NativeSequence:
    """The sequence, with these changes and additions from now on."""
    sequence.adapters = adapters
    if changes:
        from ouvert.kernels import Edits  # as above

        sequence.edits = Edits(changes)
    return sequence


def places_of(work: Sequence[tuple[NativeSequence, np.ndarray]]) -> frozenset[str]:
    """The values that a step of these sequences edits."""
    return frozenset().union(*(sequence.edits.places for sequence, _ in work if sequence.edits is not None))
