"""A runner over a native program. Its sequences and pages are the program's own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ouvert.engine.runners.interface import Wanted, refuse_all_but_base
from ouvert.engine.variant import BASE, Variant
from ouvert.kernels import ExpertReads, Page, Program
from ouvert.kernels import Sequence as NativeSequence

if TYPE_CHECKING:
    from ouvert.kernels import ExpertCache


class NativeRunner:
    """A token's logits are the same bit for bit: see `kernels.Program`. It computes the base and no other variant."""

    def __init__(self, program: Program, experts: "ExpertCache | None" = None) -> None:
        """`program` is closed with the runner. `experts`: those that it reads from a file."""
        self.program, self._experts = program, experts
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

    def close(self) -> None:
        self.program.close()
        self._experts = None
