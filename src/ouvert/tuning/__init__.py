"""New weights from old ones and data: adapters of low rank, trained on the very weights that are served.

May import packed, kernels, models, arithmetic, weights, chat, tokenization and store. What samples (GRPO) and what
checks an adapter afterwards is handed in by `cli`: nothing here imports the engine or the evaluation.

Needs torch (the extra `tune`) where it computes; everything else here, and importing it, does not.
"""

from typing import TYPE_CHECKING, Any

from ouvert.tuning.beginning import TrainedWeight, begin_adapter, new_adapter, routed, table_of
from ouvert.tuning.chart import Curves, curves_of, lines_of, svg_of
from ouvert.tuning.data import Counts, Dataset, examples_of, read_data
from ouvert.tuning.error import TuningError, no_torch
from ouvert.tuning.example import Example, Item, Labelled, Preference, Prompt
from ouvert.tuning.keeping import source_of, write_beside
from ouvert.tuning.kept_data import read_data_again
from ouvert.tuning.learner import Learner, Loss
from ouvert.tuning.loop import StopAskedError
from ouvert.tuning.making import Think
from ouvert.tuning.methods import Way, way_of
from ouvert.tuning.metrics import followed, rows_in
from ouvert.tuning.opening import Base, open_base
from ouvert.tuning.pack import Bin, bins_of
from ouvert.tuning.plan import Plan
from ouvert.tuning.recipe import OPTIONS, Recipe, read_recipe, with_options
from ouvert.tuning.reinforce import Asked, GroupRelative, Judge, Sampled, Sampler
from ouvert.tuning.rewards import judges_of
from ouvert.tuning.runs import Begun, OpenRun, Runs, Seen
from ouvert.tuning.session import (
    Manners,
    Prepared,
    begun,
    plan_of,
    prepare,
    require_same_base,
    require_same_run,
    settled,
    train,
)

if TYPE_CHECKING:
    from ouvert.tuning.gradient import GradientLearner, learner_of
    from ouvert.tuning.operations import TorchOps, pasts_of

__all__ = [
    "OPTIONS",
    "Asked",
    "Base",
    "Begun",
    "Bin",
    "Counts",
    "Curves",
    "Dataset",
    "Example",
    "GradientLearner",
    "GroupRelative",
    "Item",
    "Judge",
    "Labelled",
    "Learner",
    "Loss",
    "Manners",
    "OpenRun",
    "Plan",
    "Preference",
    "Prepared",
    "Prompt",
    "Recipe",
    "Runs",
    "Sampled",
    "Sampler",
    "Seen",
    "StopAskedError",
    "Think",
    "TorchOps",
    "TrainedWeight",
    "TuningError",
    "Way",
    "begin_adapter",
    "begun",
    "bins_of",
    "curves_of",
    "examples_of",
    "followed",
    "judges_of",
    "learner_of",
    "lines_of",
    "new_adapter",
    "no_torch",
    "open_base",
    "pasts_of",
    "plan_of",
    "prepare",
    "read_data",
    "read_data_again",
    "read_recipe",
    "require_same_base",
    "require_same_run",
    "routed",
    "rows_in",
    "settled",
    "source_of",
    "svg_of",
    "table_of",
    "train",
    "way_of",
    "with_options",
    "write_beside",
]

# The file of each name that needs torch: imported when it is first asked for.
FILES = {"gradient": ("GradientLearner", "learner_of"), "operations": ("TorchOps", "pasts_of")}
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
        raise no_torch(name) from None
