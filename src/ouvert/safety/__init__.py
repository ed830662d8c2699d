"""What must not happen, in a form that can be checked: connections beyond this machine. May import chat only."""

from ouvert.safety.guard import Attempt, Counts, Denied, Guard, admit_boxes, connecting, guard
from ouvert.safety.hosts import Hosts, is_this_machine
from ouvert.safety.programs import Programs
from ouvert.safety.reach import (
    REACHES,
    REACHES_OF_BOXES,
    REACHES_OF_COMPARISONS,
    REACHES_OF_DOCUMENTS,
    REACHES_OF_EXTRAS,
    REACHES_OF_MCP,
    REACHES_OF_TUNING,
    REACHES_OF_WASM,
    Reach,
)

__all__ = [
    "REACHES",
    "REACHES_OF_BOXES",
    "REACHES_OF_COMPARISONS",
    "REACHES_OF_DOCUMENTS",
    "REACHES_OF_EXTRAS",
    "REACHES_OF_MCP",
    "REACHES_OF_TUNING",
    "REACHES_OF_WASM",
    "Attempt",
    "Counts",
    "Denied",
    "Guard",
    "Hosts",
    "Programs",
    "Reach",
    "admit_boxes",
    "connecting",
    "guard",
    "is_this_machine",
]
