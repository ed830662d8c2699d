"""Which runner computes a model: the native one where it is built and knows the model, else NumPy's."""

import warnings
from dataclasses import dataclass
from typing import get_args

from ouvert import kernels
from ouvert.arithmetic import Ops
from ouvert.engine.interface import EngineError
from ouvert.engine.machine import physical_cores
from ouvert.engine.runners.interface import Runner
from ouvert.engine.runners.native_runner import NativeRunner
from ouvert.engine.runners.nonfinite import Locate, in_native, in_numpy
from ouvert.engine.runners.numpy_runner import NumpyRunner, limit_threads
from ouvert.kernels import CacheType
from ouvert.packed import STORED, AskedPrecision, ModelFiles, PackedFile, PlacedModel, PrecisionLimit

CACHE_TYPES: tuple[CacheType, ...] = get_args(CacheType)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRunner:
    """What computes a model, and the model that it computes. `locate` finds where numbers break."""

    runner: Runner
    placed: PlacedModel
    locate: Locate

    @property
    def native(self) -> bool:
        """Whether it computes with packed weights and the native kernels."""
        return isinstance(self.runner, NativeRunner)


def open_runner(
    files: ModelFiles,
    *,
    threads: int | None = None,
    exact: bool = False,
    packed: PackedFile | None = None,
    cache_type: CacheType | None = None,
    weights_digest: str | None = None,
    precision: AskedPrecision | None = None,
    expert_bytes: int | None = None,
) -> ModelRunner:
    """The fastest runner for this model.

    Native weights come from `packed`, memory-mapped; without it they are packed into memory. `exact` matters to the
    native runner only: NumPy computes in float32 anyway. `cache_type`: how keys and values are kept (default: 16 bits
    in the native runner, 32 in NumPy, which knows nothing else). `weights_digest`: that of the files, if it is known.
    `precision`: that of packed weights; left out, the usual one. NumPy computes with those stored, and refuses another
    precision unless it is a limit. `expert_bytes`: experts stay in the packed file, and so many bytes of them are
    kept. Raises CheckpointError, and EngineError for a cache or a precision that the runner does not have.
    """
    if kernels.available():
        count = threads or physical_cores()
        placed = place_natively(files, packed, count, weights_digest, precision, expert_bytes)
        try:
            return native_runner(placed, count, exact, cache_type or "f16")
        except kernels.TracingError as problem:
            placed.close()
            warnings.warn(f"{files.path}: NumPy computes this model, slower: {problem}", stacklevel=2)
        except BaseException:
            placed.close()
            raise
    if cache_type not in (None, "f32"):
        raise EngineError(
            f"loading {files.path}: cache_type={cache_type!r}, but NumPy computes this model, and keeps keys and "
            "values in f32 only. Leave it out, or install a C++20 compiler and Ouvert again for the native kernels."
        )
    if precision not in (None, STORED) and not isinstance(precision, PrecisionLimit):
        raise EngineError(
            f"loading {files.path}: precision={precision}, but NumPy computes this model, with the numbers that are in "
            "its files. Leave it out, or install a C++20 compiler and Ouvert again for the native kernels."
        )
    limit_threads(threads)
    ops = Ops()
    placed = files.place(ops, weights_digest)
    return ModelRunner(runner=NumpyRunner(placed.model, ops), placed=placed, locate=in_numpy(placed.model, ops))


def place_natively(
    files: ModelFiles,
    packed: PackedFile | None,
    threads: int,
    weights_digest: str | None,
    precision: AskedPrecision | None,
    expert_bytes: int | None,
) -> PlacedModel:
    """The model with packed weights, out of a file or packed into memory. Raises CheckpointError."""
    if packed is None:
        return files.place_in_memory(threads, precision, weights_digest)
    return files.place_packed(packed, threads, precision, expert_bytes)


def native_runner(placed: PlacedModel, threads: int, exact: bool, cache_type: CacheType) -> ModelRunner:
    """Raises TracingError for a model that native programs do not compute."""
    programs = kernels.Programs(placed.model, threads=threads, exact=exact, cache=cache_type)
    return ModelRunner(
        runner=NativeRunner(placed.model, programs, placed.experts),
        placed=placed,
        locate=in_native(placed.model, exact, cache_type, threads),
    )
