"""A person's file as what is learnt: read, converted, masked, split, counted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ouvert.tuning.example import Example, Labelled, Preference, Prompt
from ouvert.tuning.recipe import Recipe

if TYPE_CHECKING:
    from ouvert.chat import ChatFormat, Conversation
    from ouvert.tokenization import Tokenizer

Item = Example | Preference | Labelled | Prompt  # one kind in a dataset: that of the method

# What the model itself thinks before it answers each of these conversations, in their order; "" where it does not.
Think = Callable[[Sequence["Conversation"]], Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """`rows` are those of the file. The others are of what is trained: `items` (examples, pairs or prompts), their
    `tokens` and how many of those are `trained`; `held_out` items; rows that were `cut` or are `duplicates`, answers
    that are still `unthought` (their thoughts are written by the model when the run begins), and items of the safety
    mix (`mixed`), which are among `items`."""

    rows: int
    items: int
    held_out: int
    tokens: int
    trained: int
    cut: int = 0
    duplicates: int = 0
    unthought: int = 0
    mixed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """What is learnt, and what is only measured. `digest`, "sha256:<hex>", is of every id, mask and column of both.
    `notes` are sentences that a person should read: what was converted, cut, left out."""

    train: tuple[Item, ...]
    held_out: tuple[Item, ...]
    counts: Counts
    digest: str
    notes: tuple[str, ...]

    def order(self, seed: int, epoch: int) -> tuple[int, ...]:
        """Places in `train`, each once, in this epoch's order: the same for the same seed. Raises nothing."""
        raise NotImplementedError


def read_data(
    path: Path, recipe: Recipe, chat: "ChatFormat | None", tokenizer: "Tokenizer", *, think: Think | None = None
) -> Dataset:
    """The data at `path` for the recipe's method, as the model whose `chat` and `tokenizer` these are reads it.

    `chat` may be None for texts alone. `recipe.data.date` is the day that conversations take place. `think` is asked
    once for the thoughts that the data leaves out (`reasoning = "keep"`); without it these answers are written with no
    thought and counted as `unthought`: for a look, not for a run.

    Raises TuningError with file and line for data that cannot be used, and where nothing would be trained.
    """
    raise NotImplementedError
