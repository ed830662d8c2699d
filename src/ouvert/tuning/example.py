"""What is learnt from: token ids, and which of them are trained. Made by `tuning.data` of what a person wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One sequence.

    ids      int32 (tokens,), as the server would render and the model would answer
    trained  float32 (tokens,): what the log-probability of token i, given those before it, counts in the loss. 0 for
             whatever the prompt supplies when the model is used, and always for the first token
    line     where it stands in the file, from 1 on

    Making one raises ValueError for arrays that do not fit each other.
    """

    ids: Array
    trained: Array
    line: int

    def __post_init__(self) -> None:
        fits = self.ids.dtype == np.int32 and self.trained.dtype == np.float32 and self.ids.ndim == 1
        if not fits or self.ids.shape != self.trained.shape or len(self.ids) < 2 or self.trained[0] != 0:
            raise ValueError(
                f"making an example of line {self.line}: ids are {self.ids.dtype}{self.ids.shape} and trained is "
                f"{self.trained.dtype}{self.trained.shape}, expected int32 and float32 of the same length, 2 at least, "
                "with an untrained first token."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Preference:
    """Two answers to the same prompt, for DPO and ORPO."""

    chosen: Example
    rejected: Example


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """An answer that is wanted or not, for KTO."""

    example: Example
    desirable: bool


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What is answered while training (GRPO), and the columns that rewards read (`answer`, `tests`, a schema …).

    ids int32 (tokens,), to the place where the model's first token stands.
    """

    ids: Array
    columns: Mapping[str, Any]
    line: int
    unit: str = "line"  # what `line` counts

    @property
    def where(self) -> str:
        """ "line 7", or "row 7" of a file that has no lines. Raises nothing."""
        return f"{self.unit} {self.line}"


Item = Example | Preference | Labelled | Prompt  # one kind in a dataset: that of the method
