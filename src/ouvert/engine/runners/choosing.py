"""Which runner computes: the native one where it is built and knows the model, else NumPy's."""

import importlib.util
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ouvert import models
from ouvert.arithmetic import Ops
from ouvert.engine.interface import EngineError
from ouvert.engine.runners.interface import Runner
from ouvert.engine.runners.native_runner import NativeRunner
from ouvert.engine.runners.nonfinite import Locate, in_native, in_numpy
from ouvert.engine.runners.numpy_runner import NumpyRunner, limit_threads
from ouvert.kernels.program import CacheType
from ouvert.weights import Checkpoint

if TYPE_CHECKING:
    from ouvert.engine.integrity import WeightsWatch

# Part of a packed file's name: another number whenever a layout changes, so that no old file is taken for a new one.
LAYOUT_VERSION = "rows16-3"

SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """Where the packed form of the weights is, or is to be written, and the digest of the weights it is made from.

    `place(name)` is the path for packed weights of that name, which says layout and recipe; its folder is there.
    `progress(done, total)` counts source bytes; `say` is told, in a sentence, what packing lost, if anything.
    """

    place: Callable[[str], Path]
    source_digest: str
    progress: Callable[[int, int], None] | None = None
    say: Callable[[str], None] | None = None


CACHE_TYPES: tuple[CacheType, ...] = get_args(CacheType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What computes a model. `locate` finds where numbers break; `packed_digest` and `watch` are of the packed file
    that computes, None where weights were packed into memory or decoded."""

    runner: Runner
    locate: Locate
    packed_digest: str | None = None
    watch: "WeightsWatch | None" = None


def open_runner(
    checkpoint: Checkpoint,
    recognised: tuple[models.Family, Any],
    threads: int | None,
    exact: bool,
    packed: PackedFile | None,
    cache_type: CacheType | None = None,
) -> Chosen:
    """The fastest runner for this checkpoint, of that family and configuration.

    Native weights come from `packed`, memory-mapped; without it they are packed into memory. `exact` matters to the
    native runner only: NumPy computes in float32 anyway. `cache_type`: how keys and values are kept; left out, as the
    runner does it every day: native ones in 16 bits, NumPy in 32, which knows nothing else. Raises CheckpointError, and
    EngineError for a cache that the runner has not.
    """
    if native_is_built():
        from ouvert.kernels.tracer import TracingError

        try:
            return open_native(checkpoint, recognised, threads or physical_cores(), exact, packed, cache_type or "f16")
        except TracingError as problem:
            warnings.warn(f"{checkpoint.path}: NumPy computes this model, slower: {problem}", stacklevel=2)
    if cache_type not in (None, "f32"):
        raise EngineError(
            f"loading {checkpoint.path}: cache_type={cache_type!r}, but NumPy computes this model, and keeps keys and "
            "values in f32 only. Leave it out, or install a C++20 compiler and Ouvert again for the native kernels."
        )
    limit_threads(threads)
    ops = Ops()
    model = models.load(checkpoint, ops, recognised=recognised)
    return Chosen(runner=NumpyRunner(model, ops), locate=in_numpy(model, ops))


def open_native(
    checkpoint: Checkpoint,
    recognised: tuple[models.Family, Any],
    threads: int,
    exact: bool,
    packed: PackedFile | None,
    cache_type: CacheType,
) -> Chosen:
    """Raises TracingError for a model that native programs do not compute, and CheckpointError."""
    from ouvert.engine.packed import packed_weights
    from ouvert.kernels.tracer import Tracer

    tracer = Tracer(exact=exact, cache=cache_type)
    places: models.Places = tracer
    watch = digest = None
    if packed is not None:
        family, config = recognised
        places, watch = packed_weights(checkpoint, family.parameters(config, checkpoint), packed, threads)
        digest = places.digest
    try:
        model = models.load(checkpoint, places, recognised=recognised)
        logits = model.forward(tracer.begin(model.memories), tracer)
        program = tracer.finish(logits, threads=threads)
    except BaseException:
        if watch is not None:
            watch.close()
        raise
    locate = in_native(model, exact, tracer.cache, threads)
    return Chosen(runner=NativeRunner(program), locate=locate, packed_digest=digest, watch=watch)


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
