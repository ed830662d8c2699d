"""New weights from old ones and data: adapters of low rank, trained on the very weights that are served.

May import packed, kernels, models, arithmetic, weights, chat, tokenization and store. What samples (GRPO) and what
checks an adapter afterwards is handed in by `cli`: nothing here imports the engine or the evaluation.

Needs torch (the extra `tune`) where it computes; everything else here, and importing it, does not.
"""

from typing import TYPE_CHECKING, Any

from ouvert.tuning.beginning import TrainedWeight, begin_adapter, new_adapter, routed, table_of
from ouvert.tuning.data import Counts, Dataset, examples_of, read_data
from ouvert.tuning.error import TuningError
from ouvert.tuning.example import Example, Item, Labelled, Preference, Prompt
from ouvert.tuning.learner import Learner, Loss
from ouvert.tuning.making import Think
from ouvert.tuning.metrics import rows_in
from ouvert.tuning.opening import Base, open_base
from ouvert.tuning.pack import Bin, bins_of
from ouvert.tuning.recipe import Recipe, read_recipe
from ouvert.tuning.reinforce import Asked, GroupRelative, Judge, Sampled, Sampler
from ouvert.tuning.rewards import judges_of
from ouvert.tuning.runs import Begun, Runs, Seen

if TYPE_CHECKING:
    from ouvert.tuning.gradient import GradientLearner
    from ouvert.tuning.operations import TorchOps, pasts_of

__all__ = [
    "Asked",
    "Base",
    "Begun",
    "Bin",
    "Counts",
    "Dataset",
    "Example",
    "GradientLearner",
    "GroupRelative",
    "Item",
    "Judge",
    "Labelled",
    "Learner",
    "Loss",
    "Preference",
    "Prompt",
    "Recipe",
    "Runs",
    "Sampled",
    "Sampler",
    "Seen",
    "Think",
    "TorchOps",
    "TrainedWeight",
    "TuningError",
    "begin_adapter",
    "bins_of",
    "examples_of",
    "judges_of",
    "new_adapter",
    "open_base",
    "pasts_of",
    "read_data",
    "read_recipe",
    "routed",
    "rows_in",
    "table_of",
]

# The file of each name that needs torch: imported when it is first asked for.
FILES = {"gradient": ("GradientLearner",), "operations": ("TorchOps", "pasts_of")}
FILE_OF = {name: file for file, names in FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    """What needs torch, imported now. Raises TuningError, with what to install, where there is none."""
    from importlib import import_module

    if name not in FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{FILE_OF[name]}"), name)
    except ModuleNotFoundError as problem:
        if problem.name != "torch":
            raise
        raise TuningError(
            f"{name}: torch is not installed, expected it where adapters are trained. Install the extra: "
            "pip install 'ouvert[tune]'."
        ) from None
