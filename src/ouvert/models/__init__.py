"""What each family computes, and which tensor in a file is which. May import arithmetic and weights.

`recognise` says what a checkpoint is, `place` makes it ready to compute with any set of operations, `load` does both; a
`Family` offers the pieces one by one (configuration, parameters with their encoded bytes, graph).
"""

from ouvert.models.adaptable import adaptable, adaptable_shapes, carrying
from ouvert.models.configuration import DecoderConfig
from ouvert.models.counterparts import Counterpart, Part, Program, counterparts
from ouvert.models.edits import OPERATIONS, Edit, EditError, canonical, changes_of
from ouvert.models.families import FAMILIES, load, place, recognise
from ouvert.models.family import Family, Model
from ouvert.models.memory import KeyValueMemory, LatentMemory, Memory, StateMemory
from ouvert.models.operations import Batch, Operations, Places, Watch, Weight
from ouvert.models.parameters import Parameter
from ouvert.models.shapes import Shape, key_value_bytes, known_shapes, latent_bytes
from ouvert.models.showing import TOP
from ouvert.models.stored import Piece, Spot, Stored, spots_of, stored_tensors
from ouvert.models.taps import TAPS, NamedValue, TapError, live_names, shown_by
from ouvert.weights import CheckpointError

__all__ = [
    "FAMILIES",
    "OPERATIONS",
    "TAPS",
    "TOP",
    "Batch",
    "CheckpointError",
    "Counterpart",
    "DecoderConfig",
    "Edit",
    "EditError",
    "Family",
    "KeyValueMemory",
    "LatentMemory",
    "Memory",
    "Model",
    "NamedValue",
    "Operations",
    "Parameter",
    "Part",
    "Piece",
    "Places",
    "Program",
    "Shape",
    "Spot",
    "StateMemory",
    "Stored",
    "TapError",
    "Watch",
    "Weight",
    "adaptable",
    "adaptable_shapes",
    "canonical",
    "carrying",
    "changes_of",
    "counterparts",
    "key_value_bytes",
    "known_shapes",
    "latent_bytes",
    "live_names",
    "load",
    "place",
    "recognise",
    "shown_by",
    "spots_of",
    "stored_tensors",
]
