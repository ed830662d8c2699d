"""What the engine drives: something that runs one model over sequences. Two exist: NumPy's and the native one's."""

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Ordered
from difflib import get_close_matches
from math import prod
from typing import Any, Literal, Protocol

import numpy as np

from ouvert.engine.interface import EngineAdapters, EngineError
from ouvert.engine.variant import BASE, Variant
from ouvert.kernels import ExpertReads
from ouvert.models import Model, shown_by

Wanted = Literal["last", "all", "none"]


class RunnerPage(Protocol):
    """What some tokens of a sequence, a page of them, left in the caches. Never changes; layers may leave holes.

    Belongs to the runner that made it. read() may run in another thread beside steps.
    """

    @property
    def tokens(self) -> int:
        """How many: the runner's `page_tokens`, or less where the sequence ended."""

    @property
    def nbytes(self) -> int:
        """Bytes it holds, shared with others or not."""

    def read(self) -> memoryview:
        """A copy to keep elsewhere, for `Runner.page_from`."""

    def close(self) -> None:
        """Let go of what it holds. It cannot be used afterwards; closing again does nothing."""


class RunnerSequence(Protocol):
    """The past of one sequence: what its tokens left in the caches. Owned by whoever asked for it.

    `expanded`: tokens before this position are computed in the expanded form, by a runner that `expands`; 0 at first.
    """

    expanded: int

    @property
    def length(self) -> int:
        """Tokens it holds."""

    def truncate(self, length: int) -> object:
        """Forget every token from `length` on; or all, where less cannot be forgotten: see `length`."""

    def page(self, n: int) -> RunnerPage:
        """Its n-th page. The sequence goes on, and leaves the page as it is. ValueError if it has no such page."""

    def close(self) -> None:
        """Free its memory. It cannot be used afterwards."""


class Runner(Protocol):
    """Runs a model. Not safe for use from several threads at once: the engine lets one in at a time."""

    @property
    def threads(self) -> int: ...

    @property
    def instruction_set(self) -> str: ...

    @property
    def vocabulary_size(self) -> int: ...

    @property
    def width(self) -> int:
        """Numbers of a row: the vocabulary's size, or of an embedding model that of its vectors."""

    @property
    def cache_type(self) -> str:
        """How keys and values are kept: "f16", "q8" or "f32"; "f64" where NumPy computes in float64."""

    @property
    def page_tokens(self) -> int:
        """Tokens of a whole page."""

    @property
    def page_bytes(self) -> int:
        """Bytes of a page without holes."""

    @property
    def cache_bytes_in_use(self) -> int:
        """Bytes of what sequences and pages hold now; what they share counts once."""

    @property
    def expert_reads(self) -> ExpertReads | None:
        """What was read so far of experts on disk; None where all weights are in memory."""

    def cache_bytes(self, tokens: int) -> int:
        """Bytes that the past of one sequence of so many tokens takes at most."""

    @property
    def adapters(self) -> EngineAdapters:
        """Those that variants may name."""

    def check_variant(self, variant: Variant) -> object:
        """Raises EngineError that names what of this variant it does not compute. Whoever asks holds the result while
        sequences of the variant may still be made: its adapters stay until then. From any thread."""

    def expands(self, variant: Variant) -> bool:
        """Whether it computes tokens of this variant in the expanded form where a sequence says so: see
        `Engine.generate`. From any thread. Raises what `check_variant` raises."""

    def new_sequence(self, capacity: int, variant: Variant = BASE) -> RunnerSequence:
        """A sequence of up to `capacity` tokens, which `step` computes with this variant; its memory grows as tokens
        come. Raises what `check_variant` raises."""

    def resume(self, pages: Ordered[Any], length: int, capacity: int, variant: Variant = BASE) -> RunnerSequence:
        """A sequence of up to `capacity` tokens that holds the first `length` of these pages (from `page` or
        `page_from` of this runner), or as many less as it takes for the next token to find all that it looks at.

        The pages stay as they are, and are of the same variant: a page does not say which one it is of. ValueError if
        they hold less, are closed or of another runner. Raises what `check_variant` raises.
        """

    def page_from(self, data: Any) -> RunnerPage:
        """The page that `RunnerPage.read` gave these bytes for. ValueError if they are none of this model's.

        Damage within keys and values is not noticed: whoever stores pages keeps a digest.
        """

    def step(self, work: Ordered[tuple[Any, np.ndarray]], wanted: Wanted | Ordered[Wanted]) -> np.ndarray:
        """Append new ids (int32) to each sequence (from this runner's `new_sequence` or `resume`) and compute.

        float32 (rows, width). Rows: for every sequence the one after its last new token ("last"), after each
        of them ("all"), or none; one wish for all, or one for each. They come in the order of the sequences.
        MemoryError if the caches cannot grow; nothing has changed then.
        """

    def check_names(self, names: Iterable[str]) -> None:
        """Raises EngineError for a name of docs/formats/taps.md that this model does not show."""

    @property
    def shown(self) -> Mapping[str, int]:
        """The values of which every token of a step has a row of the same width, and that width. From any thread."""

    def step_watched(
        self, work: Ordered[tuple[Any, np.ndarray]], wanted: Wanted | Ordered[Wanted], names: frozenset[str]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """`step`, and these values of its tokens, float32 or int32 (tokens or rows, width): the same rows, bit for bit
        where a runner's numbers do not depend on what shares a step. At most 512 tokens in all."""

    def close(self) -> None: ...


def shown_of(model: Model) -> dict[str, int]:
    """`Runner.shown` of a model."""
    values = shown_by(model.family.name, model.config)
    return {
        name: prod(value.shape(model.config))
        for name, value in values
        if value.rows == "tokens" and "positions" not in value.dims.split()
    }


def unknown_names(names: Iterable[str], model: Model) -> EngineError | None:
    """The error for names that a model does not show; None if there are none."""
    shown = [name for name, _ in shown_by(model.family.name, model.config)]
    if not (unknown := sorted(set(names).difference(shown))):
        return None
    near = sorted({each for name in unknown for each in get_close_matches(name, shown)})
    return EngineError(
        f"watching {', '.join(unknown)}: {model.family.name} with {len(model.memories)} layers does not show that. "
        + (f"Near it are {', '.join(near)}; " if near else "")
        + "docs/formats/taps.md has all names."
    )
