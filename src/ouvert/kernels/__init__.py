"""The operations of `arithmetic`, fast on a CPU: packed weights, and graphs recorded once and replayed natively.

May import arithmetic only. How an engine uses it:

    recorder = kernels.Recorder()                      # exact=True: activations stay float32; cache="f32": caches too
    model = models.load(checkpoint, recorder)          # or any source of kernels.Packed matrices and float32 vectors
    program = kernels.build(recorder, model, threads=2)
    sequence = program.new_sequence(capacity=4096)
    logits = program.step([(sequence, ids)], "last")   # float32 (rows, vocabulary)

The package imports without its native part (a machine without a compiler); `available()` says whether it is there,
and everything else then raises ImportError.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ouvert.kernels.linear import Packed
    from ouvert.kernels.program import Program, Sequence
    from ouvert.kernels.tracer import Batch, Memory, Recorder, RecordingError, Slot, Watch

__all__ = [
    "Batch",
    "Packed",
    "Program",
    "Recorder",
    "RecordingError",
    "Sequence",
    "Slot",
    "Watch",
    "available",
    "build",
    "instruction_set",
]

HOMES = {
    "Batch": "tracer",
    "Packed": "linear",
    "Program": "program",
    "Recorder": "tracer",
    "RecordingError": "tracer",
    "Sequence": "program",
    "Slot": "tracer",
    "Watch": "tracer",
}


def __getattr__(name: str) -> Any:
    """Names that need the native part, imported when they are first asked for."""
    from importlib import import_module

    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)


class Recordable(Protocol):
    """A model whose weights were placed with the recorder: models.Model."""

    @property
    def memories(self) -> Iterable["Memory"]: ...
    def forward(self, batch: Any, ops: Any, tap: Any = None) -> Any: ...


def available() -> bool:
    """Whether the native part was built and can be loaded."""
    from importlib.util import find_spec

    return find_spec("ouvert.kernels._native") is not None


def instruction_set() -> str:
    """The widest one that this machine and this build have: "plain", "avx2" or "avx512"."""
    import ouvert.kernels._native as _native

    best: str = _native.best_instruction_set()
    return best


def build(
    recorder: "Recorder",
    model: Recordable,
    *,
    threads: int,
    instruction_set: str | None = None,
    watch: Iterable[str] = (),
) -> "Program":
    """Run the model's graph once, and return the program that replays it.

    `watch` names values of the graph (docs/formats/taps.md) to keep in each step: `Program.seen(name)`. The numbers are
    the same with and without. Raises LookupError for a name that never comes, and RecordingError, by name, for what a
    program cannot do.
    """
    from ouvert.kernels.tracer import Watch

    tap = Watch(recorder, watch)
    logits = model.forward(recorder.begin(model.memories), recorder, tap)
    tap.check()
    return recorder.finish(logits, threads=threads, instruction_set=instruction_set)
