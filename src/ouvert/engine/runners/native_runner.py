"""A runner over a native program. Its sequences and pages are the program's own."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ouvert.engine.runners.interface import Wanted, refuse_all_but_base, unknown_names
from ouvert.engine.variant import BASE, Variant
from ouvert.kernels import ExpertReads, Page, Programs
from ouvert.kernels import Sequence as NativeSequence
from ouvert.models import Model

if TYPE_CHECKING:
    from ouvert.kernels import ExpertCache


class NativeRunner:
    """A token's logits are the same bit for bit: see `kernels.Program`. It computes the base and no other variant."""

    def __init__(self, model: Model, programs: Programs, experts: "ExpertCache | None" = None) -> None:
        """`programs` are those of the model, and closed with the runner. `experts`: those that they read from a
        file."""
        self.programs, self._model, self._experts = programs, model, experts
        self.program = program = programs.plain
        self.threads, self.instruction_set = program.threads, program.instruction_set
        self.vocabulary_size, self.width = program.vocabulary_size, program.width
        self.cache_type: str = program.cache_type
        self.expands = program.expands
        self.page_tokens, self.page_bytes = program.page_tokens, program.page_bytes

    @property
    def cache_bytes_in_use(self) -> int:
        return self.program.cache_bytes_in_use

    @property
    def expert_reads(self) -> ExpertReads | None:
        return None if self._experts is None else self._experts.reads()

    def check_variant(self, variant: Variant) -> None:
        refuse_all_but_base(variant, "the native program")

    def new_sequence(self, capacity: int, variant: Variant = BASE) -> NativeSequence:
        self.check_variant(variant)
        return self.program.new_sequence(capacity)

    def page_from(self, data: Any) -> Page:
        return self.program.page_from(data)

    def resume(self, pages: Sequence[Page], length: int, capacity: int, variant: Variant = BASE) -> NativeSequence:
        self.check_variant(variant)
        return self.program.resume(pages, length, capacity)

    def cache_bytes(self, tokens: int) -> int:
        return self.program.cache_bytes(tokens)

    def step(self, work: Sequence[tuple[NativeSequence, np.ndarray]], wanted: Wanted | Sequence[Wanted]) -> np.ndarray:
        return self.program.step(work, wanted)

    def check_names(self, names: Iterable[str]) -> None:
        if (problem := unknown_names(names, self._model)) is not None:
            raise problem

    def step_watched(
        self, work: Sequence[tuple[NativeSequence, np.ndarray]], wanted: Wanted, names: frozenset[str]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        program = self.programs.sibling(watch=names)
        rows = program.step(work, wanted)
        return rows, {name: program.seen(name) for name in names}

    def close(self) -> None:
        self.programs.close()
        self._experts = None
