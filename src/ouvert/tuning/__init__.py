"""New weights from old ones and data: adapters of low rank, trained on the very weights that are served.

May import packed, kernels, models, arithmetic, weights, chat, tokenization and store. What samples (GRPO) and what
checks an adapter afterwards is handed in by `cli`: nothing here imports the engine or the evaluation.

Needs torch (the extra `tune`) where it computes; everything else here, and importing it, does not.
"""

from ouvert.tuning.data import Counts, Dataset, examples_of, read_data
from ouvert.tuning.error import TuningError
from ouvert.tuning.example import Example, Item, Labelled, Preference, Prompt
from ouvert.tuning.learner import Learner, Loss
from ouvert.tuning.making import Think
from ouvert.tuning.pack import Bin, bins_of
from ouvert.tuning.recipe import Recipe, read_recipe

__all__ = [
    "Bin",
    "Counts",
    "Dataset",
    "Example",
    "Item",
    "Labelled",
    "Learner",
    "Loss",
    "Preference",
    "Prompt",
    "Recipe",
    "Think",
    "TuningError",
    "bins_of",
    "examples_of",
    "read_data",
    "read_recipe",
]
