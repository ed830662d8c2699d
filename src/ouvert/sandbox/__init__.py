"""Programs and code that are not ours, in a box that holds, or not at all. Imports no other part.

`probe()` says what this machine can do, by trying: namespaces (bubblewrap), else Landlock with a filter of calls, else
Python alone in WebAssembly, if its component was built (`prepare`), else nothing, with the reason and the remedy. `Box`
is opened on a folder; in it run stateful Python (`cell`), one program to its end (`run`), or one with pipes (`start`).
There is no way to run something on the machine itself.
"""

from ouvert.sandbox.box import Box
from ouvert.sandbox.cell import Cell
from ouvert.sandbox.component import Component, build_command, prepare
from ouvert.sandbox.error import BoxError, BoxRefusedError
from ouvert.sandbox.found import Finding, Found, Level
from ouvert.sandbox.outcome import Died, Interrupted, Output
from ouvert.sandbox.probe import box_commands, probe, probe_level
from ouvert.sandbox.running import Finished, Running

__all__ = [
    "Box",
    "BoxError",
    "BoxRefusedError",
    "Cell",
    "Component",
    "Died",
    "Finding",
    "Finished",
    "Found",
    "Interrupted",
    "Level",
    "Output",
    "Running",
    "box_commands",
    "build_command",
    "prepare",
    "probe",
    "probe_level",
]
