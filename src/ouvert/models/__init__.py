"""What each family computes, and which tensor in a file is which. May import arithmetic and weights.

`recognise` says what a checkpoint is, `load` makes it ready to compute with any set of operations; a `Family`
offers the pieces one by one (configuration, parameters with their encoded bytes, graph).
"""

from ouvert.models.configuration import DecoderConfig
from ouvert.models.families import FAMILIES, load, recognise
from ouvert.models.family import Family, Model
from ouvert.models.memory import KeyValueMemory, LatentMemory, Memory, StateMemory
from ouvert.models.operations import Batch, Operations, Places, Watch
from ouvert.models.parameters import Parameter
from ouvert.models.taps import TAPS, NamedValue, TapError, shown_by
from ouvert.weights import CheckpointError

__all__ = [
    "FAMILIES",
    "TAPS",
    "Batch",
    "CheckpointError",
    "DecoderConfig",
    "Family",
    "KeyValueMemory",
    "LatentMemory",
    "Memory",
    "Model",
    "NamedValue",
    "Operations",
    "Parameter",
    "Places",
    "StateMemory",
    "TapError",
    "Watch",
    "load",
    "recognise",
    "shown_by",
]
