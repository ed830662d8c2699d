"""From a path to a running engine."""

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ouvert import models
from ouvert.engine.build import build_digest
from ouvert.engine.fit import BESIDES, USABLE
from ouvert.engine.identity import DECODED, NATIVE, NumericIdentity, configuration_digest, json_digest, numpy_arithmetic
from ouvert.engine.integrity import WeightsWatch, check_of_source
from ouvert.engine.interface import EngineError, EngineFacts
from ouvert.engine.local import LocalEngine
from ouvert.engine.machine import memory_bytes
from ouvert.engine.prefixes.disk import DiskPrefixes, PageStore
from ouvert.engine.runners.choosing import (
    CACHE_TYPES,
    LAYOUT_VERSION,
    PackedFile,
    native_is_built,
    open_runner,
    physical_cores,
)
from ouvert.engine.runners.interface import Runner
from ouvert.engine.runners.numpy_runner import NumpyRunner
from ouvert.kernels.program import CacheType
from ouvert.weights import Checkpoint, combined_digest, open_checkpoint, sha256_of

# However large the weights, there is room for a conversation of so many tokens.
LEAST_CONTEXT = 4096
# Of the memory, kept prefixes that no sequence uses take one part in so many.
SHARE_FOR_KEPT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model ready to run, and what its files say besides.

    `trained_context` is the longest sequence its makers promise; `parameters` and `bytes` count what is in the files;
    `metadata` are a GGUF file's keys and values; `folder` is where safetensors files have their companions. `digest`
    is computed when it is first asked for; `digest.start()` computes it beside everything else.
    """

    engine: LocalEngine
    path: Path
    format: str
    family: str
    trained_context: int
    parameters: int
    bytes: int
    threads: int
    instruction_set: str
    cache_type: str
    metadata: Mapping[str, Any]
    folder: Path | None
    digest: "WeightsDigest"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAt:
    """What a model's files say, without its weights: see Opened. `embedding_size`: None of a model that writes text."""

    family: str
    trained_context: int
    vocabulary_size: int
    embedding_size: int | None
    parameters: int
    metadata: Mapping[str, Any]
    folder: Path | None


def look_at(path: Path) -> LookedAt:
    """Raises CheckpointError for files that cannot be used."""
    with open_checkpoint(path) as checkpoint:
        family, config = models.recognise(checkpoint)
        return LookedAt(
            family=family.name,
            trained_context=int(config.max_position_embeddings),
            vocabulary_size=int(config.vocab_size),
            embedding_size=int(config.hidden_size) if family.embeds else None,
            parameters=count(checkpoint)[0],
            metadata=checkpoint.metadata,
            folder=companions_of(checkpoint, path),
        )


def companions_of(checkpoint: Checkpoint, path: Path) -> Path | None:
    """The folder in which safetensors files have their companions; a GGUF file has all in itself."""
    return None if checkpoint.format == "gguf" else (path if path.is_dir() else path.parent)


def native_instruction_set() -> str | None:
    """What native programs would use on this machine; None where the native part was not built."""
    from ouvert import kernels

    return kernels.instruction_set() if kernels.available() else None


def open_engine(
    path: Path,
    *,
    threads: int | None = None,
    context: int | None = None,
    exact: bool = False,
    weights_digest: str | None = None,
    packed: PackedFile | None = None,
    prefixes: PageStore | None = None,
    cache_type: CacheType | None = None,
) -> Opened:
    """Load the model at `path`: a GGUF or safetensors file, or a folder with one.

    `threads`: how many compute, or as many as serve. `context`: most tokens of a sequence, or all the model was made
    for. `exact`: activations stay float32 where a faster way would round them. `weights_digest`: of the weights, if
    it is known. `packed`: where their packed form is kept, written now if it is not there; left out, weights are packed
    into memory. `prefixes`: where beginnings of sequences are kept on disk; left out, in memory only. `cache_type`: how
    keys and values are kept, "f16", "f32" or "q8" (8 bits: docs/formats/cache.md); left out, f16 natively and f32 in
    NumPy. Raises CheckpointError for files that cannot be used and EngineError for settings that cannot be honoured.
    """
    if threads is not None and threads < 1:
        raise EngineError(
            f"loading {path}: threads={threads}, expected 1 or more. Leave it out to use what serves best."
        )
    if cache_type is not None and cache_type not in CACHE_TYPES:
        raise EngineError(
            f"loading {path}: cache_type={cache_type!r}, expected one of {', '.join(CACHE_TYPES)}. Leave it out to "
            "keep keys and values as every day."
        )
    with open_checkpoint(path) as checkpoint:
        recognised, config = models.recognise(checkpoint)
        trained = int(config.max_position_embeddings)
        if context is not None and not 2 <= context <= trained:
            raise EngineError(
                f"loading {path}: context={context}, expected 2 to {trained}, which is as far as this model was made "
                "to look. Choose a smaller context, or a model made for longer texts."
            )
        digest = WeightsDigest(checkpoint.files, weights_digest)
        configuration = configuration_digest(recognised.name, checkpoint.format, config)
        # The files themselves compute, or are packed into memory from, where no packed file is kept.
        source = None if packed is not None and native_is_built() else watch_over_source(checkpoint, weights_digest)
        try:
            chosen = open_runner(checkpoint, (recognised, config), threads, exact, packed, cache_type)
        except BaseException:
            if source is not None:
                source.close()
            raise
        runner = chosen.runner
        watch = chosen.watch or source or watch_over_source(checkpoint, weights_digest)
        native = not isinstance(runner, NumpyRunner)
        parameters, size = count(checkpoint)

        @cache
        def fixed() -> EngineFacts:
            return EngineFacts(
                version=version("ouvert"),
                instruction_set=runner.instruction_set,
                threads=runner.threads,
                identity=NumericIdentity(
                    weights=digest.value(),
                    configuration=configuration,
                    layout=LAYOUT_VERSION if native else DECODED,
                    arithmetic=NATIVE if native else numpy_arithmetic(),
                    build=build_digest(),
                    exact=exact or not native,
                    cache=runner.cache_type,
                ),
                packed_digest=chosen.packed_digest,
            )

        def facts() -> EngineFacts:
            return replace(fixed(), weights_checked=watch.checked())

        engine: LocalEngine
        shelf = None
        if prefixes is not None:
            made = {"weights_instance": watch.instance}  # what damaged weights left is never used with whole ones
            shelf = DiskPrefixes(prefixes, lambda: {**engine.facts.identity.facts(), **made}, runner.page_tokens)
        limit, kept = cache_limits(runner, size, context or trained)
        engine = LocalEngine(
            runner,
            context or trained,
            facts,
            cache_limit=limit,
            kept_limit=kept,
            shelf=shelf,
            locate=chosen.locate,
            embeds=recognised.embeds,
            watch=watch,
        )
        watch.start()
        return Opened(
            engine=engine,
            path=path,
            format=checkpoint.format,
            family=recognised.name,
            trained_context=trained,
            parameters=parameters,
            bytes=size,
            threads=runner.threads,
            instruction_set=runner.instruction_set,
            cache_type=runner.cache_type,
            metadata=checkpoint.metadata,
            folder=companions_of(checkpoint, path),
            digest=digest,
        )


def watch_over_source(checkpoint: Checkpoint, digest: str | None) -> WeightsWatch:
    """Over the files that a model came in, compared with their digest if that is known."""
    maps = checkpoint.maps
    check = None if digest is None else check_of_source(maps, digest)
    instance = json_digest({str(each.path): list(each.state) for each in maps})
    return WeightsWatch(maps, check, derived=False, instance=instance)


def cache_limits(runner: Runner, weights: int, context: int) -> tuple[int, int | None]:
    """Bytes for caches, and for kept prefixes among them, of what the weights leave of this machine."""
    memory = memory_bytes()
    if memory is None:
        return sys.maxsize, None
    room = int(memory * USABLE) - weights - BESIDES
    return max(room, runner.cache_bytes(min(context, LEAST_CONTEXT))), memory // SHARE_FOR_KEPT


def count(checkpoint: Checkpoint) -> tuple[int, int]:
    """Parameters (values) and bytes of all tensors."""
    values = size = 0
    for tensor in checkpoint.tensors.values():
        product = 1
        for length in tensor.shape:
            product *= length
        values += product
        size += tensor.data.nbytes
    return values, size


class WeightsDigest:
    """The digest of a checkpoint's weight files, unless it is known computed when it is needed, in a thread.

    Of several files together it is weights.combined_digest, the same as the store's.
    """

    def __init__(self, files: Sequence[Path], known: str | None = None) -> None:
        self._files = tuple(files)
        self._value = known
        self._failure: OSError | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to compute it, if it is not known and nobody has begun."""
        if self._value is None and self._thread is None:
            self._thread = threading.Thread(target=self._compute, name="ouvert-digest", daemon=True)
            self._thread.start()

    def value(self) -> str:
        """Waits until it is there. Raises EngineError if a file could not be read."""
        self.start()
        if self._value is None and self._thread is not None:
            self._thread.join()
        if self._value is None:
            raise EngineError(
                f"digest of {', '.join(map(str, self._files))}: {self._failure}. The files must stay readable while "
                "the model is used; put them back and load it again."
            )
        return self._value

    def _compute(self) -> None:
        try:
            digests = {file.name: sha256_of(file) for file in self._files}
        except OSError as failure:
            self._failure = failure
            return
        self._value = combined_digest(digests)


def pack_weights(path: Path, packed: PackedFile) -> bool:
    """Write the packed form of the model at `path` if it is not there. False where nothing here would use it.

    Raises CheckpointError.
    """
    if not native_is_built():
        return False
    from ouvert.engine.packed import packed_weights

    with open_checkpoint(path) as checkpoint:
        family, config = models.recognise(checkpoint)
        _, watch = packed_weights(checkpoint, family.parameters(config, checkpoint), packed, physical_cores())
        watch.close()
    return True


def packed_damage(path: Path) -> str | None:
    """What is wrong with a packed file, all of which is read; None if nothing is, or where nothing here can read it."""
    if not native_is_built():
        return None
    from ouvert.engine.packed import damage_in

    return damage_in(path)
