"""Which runner computes: the native one where it is built and knows the model, else NumPy's."""

import importlib.util
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ouvert import models
from ouvert.arithmetic import Ops
from ouvert.engine.breakage import Locate, in_native, in_numpy
from ouvert.engine.numpy_runner import NumpyRunner, limit_threads
from ouvert.engine.runner import Runner
from ouvert.engine.waist import EngineError
from ouvert.kernels.program import CacheType
from ouvert.weights import Checkpoint

# Part of a packed file's name: another number whenever a layout changes, so that no old file is taken for a new one.
LAYOUT_VERSION = "rows16-2"

SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """Where the packed form of the weights is, or is to be written.

    `progress(done, total)` counts source bytes; `say` is told, in a sentence, what packing lost, if anything.
    """

    path: Path
    source_digest: str
    progress: Callable[[int, int], None] | None = None
    say: Callable[[str], None] | None = None


CACHE_TYPES: tuple[CacheType, ...] = get_args(CacheType)


def open_runner(
    checkpoint: Checkpoint,
    threads: int | None,
    exact: bool,
    packed: PackedFile | None,
    cache_type: CacheType | None = None,
) -> tuple[Runner, models.Family, Any, Locate]:
    """The fastest runner for this checkpoint, the family and configuration that it computes, and how to find where
    numbers break.

    Native weights come from `packed`, memory-mapped; without it they are packed into memory. `exact` matters to the
    native runner only: NumPy computes in float32 anyway. `cache_type`: how keys and values are kept; left out, as the
    runner does it every day: native ones in 16 bits, NumPy in 32, which knows nothing else. Raises CheckpointError, and
    EngineError for a cache that the runner has not.
    """
    if native_is_built():
        from ouvert.engine.packed import packed_weights
        from ouvert.kernels.recorder import Recorder, RecordingError

        count = threads or physical_cores()
        recorder = Recorder(exact=exact, cache=cache_type or "f16")
        places: models.Places = recorder
        if packed is not None:
            places = packed_weights(checkpoint, packed, count)
        model = models.load(checkpoint, places)
        try:
            logits = model.forward(recorder.begin(model.memories), recorder)
            program: Runner = recorder.finish(logits, threads=count)
        except RecordingError as problem:
            warnings.warn(f"{checkpoint.path}: NumPy computes this model, slower: {problem}", stacklevel=2)
        else:
            return program, model.family, model.config, in_native(model, exact, recorder.cache, count)
    if cache_type not in (None, "f32"):
        raise EngineError(
            f"loading {checkpoint.path}: cache_type={cache_type!r}, but NumPy computes this model, and keeps keys and "
            "values in f32 only. Leave it out, or install a C++20 compiler and Ouvert again for the native kernels."
        )
    limit_threads(threads)
    ops = Ops()
    model = models.load(checkpoint, ops)
    return NumpyRunner(model, ops), model.family, model.config, in_numpy(model, ops)


def native_is_built() -> bool:
    """Whether the C++ was compiled into this installation; a machine without a compiler has an Ouvert without it."""
    if importlib.util.find_spec("ouvert.kernels._native") is None:
        return False
    from ouvert.kernels import _native

    return hasattr(_native, "Program")


def physical_cores() -> int:
    """Cores this process may use, each counted once however many threads it runs; processors where that is unknown."""
    if hasattr(os, "sched_getaffinity"):
        usable = os.sched_getaffinity(0)
        siblings = [Path(SIBLINGS.format(processor)) for processor in usable]
        if all(path.exists() for path in siblings):
            return len({path.read_text() for path in siblings})
        return len(usable)
    return os.cpu_count() or 1
