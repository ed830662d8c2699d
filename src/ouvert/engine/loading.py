"""From a path to a running engine."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ouvert import kernels
from ouvert.engine.build import build_digest
from ouvert.engine.fit import BESIDES, USABLE, demand_of_model
from ouvert.engine.identity import DECODED, NATIVE, NumericIdentity, configuration_digest, numpy_arithmetic
from ouvert.engine.interface import Engine, EngineError, EngineFacts
from ouvert.engine.limits import Limits
from ouvert.engine.local import LocalEngine
from ouvert.engine.machine import memory_bytes, physical_cores
from ouvert.engine.memory_plan import USUAL_CONTEXT, MemoryPlan, plan_within
from ouvert.engine.prefixes.disk import DiskPrefixes, PageStore
from ouvert.engine.runners.open_runner import CACHE_TYPES, ModelRunner, open_runner
from ouvert.engine.weights_digest import WeightsDigest
from ouvert.kernels import CacheType
from ouvert.models import Model
from ouvert.packed import (
    LAYOUT_VERSION,
    PRECISIONS,
    AskedPrecision,
    ModelFiles,
    PackedFile,
    open_model,
    packed_weights,
    precision_itself,
)

# However large the weights, there is room for a conversation of so many tokens.
LEAST_CONTEXT = 4096
# Of the memory, kept prefixes that no sequence uses take one part in so many.
SHARE_FOR_KEPT = 16


@dataclass(frozen=True, slots=True)
class AtMost:
    """A context of so many tokens, or of all that the model was made for where that is less."""

    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model ready to run, and what its files say besides.

    `model` is what the engine computes: its family, configuration and placed weights, which stay in memory as long as
    somebody holds it; None where the engine is elsewhere. `trained_context` is the longest sequence its makers promise;
    `parameters` and `bytes` count what is in the files; `metadata` are a GGUF file's keys and values; `folder` is where
    safetensors files have their companions. `digest` is computed when it is first asked for; `digest.start()` computes
    it beside everything else. `memory_plan`: where experts are read from disk, how memory is divided; None where all
    weights are in memory.
    """

    engine: Engine
    model: Model | None
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
    digest: WeightsDigest
    memory_plan: MemoryPlan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesDescription:
    """What a model's files say, without its weights: see Opened. `embedding_size`: None of a model that writes text.
    `has_experts`: a router chooses some of its weights, which can stay on disk."""

    family: str
    trained_context: int
    vocabulary_size: int
    embedding_size: int | None
    parameters: int
    metadata: Mapping[str, Any]
    folder: Path | None
    has_experts: bool


def describe_files(path: Path) -> FilesDescription:
    """Raises CheckpointError for files that cannot be used."""
    with open_model(path) as files:
        return FilesDescription(
            family=files.family.name,
            trained_context=files.trained_context,
            vocabulary_size=int(files.config.vocab_size),
            embedding_size=int(files.config.hidden_size) if files.family.embeds else None,
            parameters=files.value_count,
            metadata=files.metadata,
            folder=files.folder,
            has_experts=any(each.routed for each in files.parameters),
        )


def native_instruction_set() -> str | None:
    """What native programs would use on this machine; None where the native part was not built. Raises nothing."""
    return kernels.instruction_set() if kernels.available() else None


def open_engine(
    path: Path,
    *,
    threads: int | None = None,
    context: int | AtMost | None = None,
    exact: bool = False,
    weights_digest: str | None = None,
    packed: PackedFile | None = None,
    prefixes: PageStore | None = None,
    cache_type: CacheType | None = None,
    precision: AskedPrecision | None = None,
    memory: int | None = None,
) -> Opened:
    """Load the model at `path`: a GGUF or safetensors file, or a folder with one.

    `threads`: how many compute, or as many as serve. `context`: most tokens of a sequence, or all the model was made
    for; more than that is refused unless it is an `AtMost`. `exact`: activations stay float32 where a faster way would
    round them. `weights_digest`: of the weights, if it is known. `packed`: where their packed form is kept, written now
    if it is not there; left out, weights are packed into memory. `prefixes`: where beginnings of sequences are kept on
    disk; left out, in memory only. `cache_type`: how keys and values are kept, "f16", "f32" or "q8" (8 bits:
    docs/formats/cache.md); left out, f16 natively and f32 in NumPy. `precision`: "4", "8" or "16" bits for large
    matrices, no more than it has unless as a `PrecisionLimit`, or "stored"; left out, 4 where nobody has quantised
    them. `memory`: bytes that the model may take with its caches; left out, what this machine can give. A mixture of
    experts that takes more reads them from the packed file when they are chosen, with room for `context` tokens or
    8192. Raises CheckpointError for files that cannot be used, EngineError for settings that cannot be honoured.
    """
    check_settings(path, threads, cache_type, precision)
    with open_model(path) as files:
        room = context_within(files, context)
        configuration = configuration_digest(files.family.name, files.checkpoint.format, files.config)
        plan = plan_of_files(files, memory, room if context else None, cache_type or "f16", precision, packed)
        opened = open_runner(
            files,
            threads=threads,
            exact=exact,
            packed=packed,
            cache_type=cache_type,
            weights_digest=weights_digest,
            precision=precision,
            expert_bytes=None if plan is None else plan.experts,
        )
        digest = WeightsDigest(files.checkpoint.files, weights_digest)
        facts = FactsOfLoad(opened, digest, configuration, exact)
        return Opened(
            engine=engine_over(files, opened, facts, room, prefixes, cache_limits(files, opened, room, memory, plan)),
            model=opened.placed.model,
            path=path,
            format=files.checkpoint.format,
            family=files.family.name,
            trained_context=files.trained_context,
            parameters=files.value_count,
            bytes=files.bytes,
            threads=opened.runner.threads,
            instruction_set=opened.runner.instruction_set,
            cache_type=opened.runner.cache_type,
            metadata=files.metadata,
            folder=files.folder,
            digest=digest,
            memory_plan=plan,
        )


def opened_elsewhere(path: Path, engine: Engine, weights_digest: str) -> Opened:
    """The model at `path`, whose weights another program computes with, behind `engine`. Of its files only what they
    say is read.

    Raises CheckpointError for files that cannot be used, EngineError where the engine does not say what it is.
    """
    facts = engine.facts
    with open_model(path) as files:
        return Opened(
            engine=engine,
            model=None,
            path=path,
            format=files.checkpoint.format,
            family=files.family.name,
            trained_context=files.trained_context,
            parameters=files.value_count,
            bytes=files.bytes,
            threads=facts.threads,
            instruction_set=facts.instruction_set,
            cache_type=facts.cache_type,
            metadata=files.metadata,
            folder=files.folder,
            digest=WeightsDigest(files.checkpoint.files, weights_digest),
        )


def check_settings(
    path: Path, threads: int | None, cache_type: CacheType | None, precision: AskedPrecision | None
) -> None:
    """Raises EngineError for what no model can honour."""
    if precision is not None and precision_itself(precision) not in PRECISIONS:
        raise EngineError(
            f"loading {path}: precision={precision!r}, expected one of {', '.join(PRECISIONS)}. Leave it out for 4 "
            "bits, or those of a file that was quantised already."
        )
    if threads is not None and threads < 1:
        raise EngineError(
            f"loading {path}: threads={threads}, expected 1 or more. Leave it out to use what serves best."
        )
    if cache_type is not None and cache_type not in CACHE_TYPES:
        raise EngineError(
            f"loading {path}: cache_type={cache_type!r}, expected one of {', '.join(CACHE_TYPES)}. Leave it out "
            "for the default, f16 (f32 where NumPy computes)."
        )


def context_within(files: ModelFiles, context: int | AtMost | None) -> int:
    """How many tokens a sequence may have: all that the model was made for, or fewer if `context` says so.

    Raises EngineError for a context that this model cannot have.
    """
    if isinstance(context, AtMost):
        context = min(context.tokens, files.trained_context)
    if context is None:
        return files.trained_context
    if not 2 <= context <= files.trained_context:
        raise EngineError(
            f"loading {files.path}: context={context}, expected 2 to {files.trained_context}, which is as far as this "
            "model was made to look. Choose a smaller context, or a model made for longer texts."
        )
    return context


@dataclass(frozen=True)
class FactsOfLoad:
    """The facts of an engine. Called, it gives them as they are now: all but `weights_checked` never change."""

    opened: ModelRunner
    digest: WeightsDigest
    configuration: str
    exact: bool

    def __call__(self) -> EngineFacts:
        return replace(self._fixed, weights_checked=self.opened.placed.watch.checked())

    @cached_property
    def identity(self) -> NumericIdentity:
        """Waits for the digest of the weights."""
        native = self.opened.native
        return NumericIdentity(
            weights=self.digest.value(),
            configuration=self.configuration,
            layout=LAYOUT_VERSION if native else DECODED,
            arithmetic=NATIVE if native else numpy_arithmetic(),
            build=build_digest(),
            exact=self.exact or not native,
            cache=self.opened.runner.cache_type,
            precision=self.opened.placed.precision,
        )

    def names_of_pages(self) -> dict[str, Any]:
        """What the names of kept prefixes hold: what damaged weights left is never used with whole ones."""
        return {**self.identity.facts(), "weights_instance": self.opened.placed.watch.instance}

    @cached_property
    def _fixed(self) -> EngineFacts:
        return EngineFacts(
            version=version("ouvert"),
            instruction_set=self.opened.runner.instruction_set,
            threads=self.opened.runner.threads,
            identity=self.identity,
            packed_digest=self.opened.placed.packed_digest,
        )


def engine_over(
    files: ModelFiles,
    opened: ModelRunner,
    facts: FactsOfLoad,
    context: int,
    prefixes: PageStore | None,
    limits: Limits,
) -> LocalEngine:
    """The engine, its weights being checked from now on."""
    runner, watch = opened.runner, opened.placed.watch
    engine = LocalEngine(
        runner,
        context,
        facts,
        limits=limits,
        disk=None if prefixes is None else DiskPrefixes(prefixes, facts.names_of_pages, runner.page_tokens),
        locate=opened.locate,
        embeds=files.family.embeds,
        watch=watch,
    )
    watch.start()
    return engine


def plan_of_files(
    files: ModelFiles,
    memory: int | None,
    context: int | None,
    cache_type: CacheType,
    precision: AskedPrecision | None,
    packed: PackedFile | None,
) -> MemoryPlan | None:
    """How memory is divided if the model's experts stay on disk; None: all of it goes into memory. `context`: tokens
    for which there is room in any case, or the usual number.

    Raises EngineError for a model that does not fit into `memory`.
    """
    if not kernels.available():
        needed = 4 * files.value_count
        if memory is not None and needed > memory:
            raise EngineError(
                f"loading {files.path}: NumPy computes it, its weights take {needed / 1e9:.2f} GB, and "
                f"it may take {memory / 1e9:.2f} GB. Install a C++20 compiler and Ouvert again for the native kernels, "
                "or allow more."
            )
        return None
    tokens = min(files.trained_context, USUAL_CONTEXT) if context is None else context
    plan = plan_within(demand_of_model(files, cache_type, precision), memory, memory_bytes(), tokens)
    if plan is None or packed is not None:
        return plan
    if memory is not None:
        raise EngineError(
            f"loading {files.path}: it may take {memory / 1e9:.2f} GB, and experts can stay on disk in a packed file "
            "only, which is not kept here. Let the store be written, or allow more."
        )
    return None


def cache_limits(
    files: ModelFiles, opened: ModelRunner, context: int, memory: int | None, plan: MemoryPlan | None
) -> Limits:
    """Bytes for caches and adapters, and for kept prefixes among them: of what the weights leave of `memory`, or of
    this machine; with experts on disk, what the plan says."""
    least = opened.runner.cache_bytes(min(context, LEAST_CONTEXT))
    weights = files.placed_bytes(opened.placed.precision) if opened.native else files.bytes
    if plan is not None:
        return Limits(cache_bytes=max(plan.caches, least), kept_bytes=max(plan.caches, least), least_bytes=least)
    machine = memory_bytes() if memory is None else None
    if machine is not None:
        memory = int(machine * USABLE)
    if memory is None:
        return Limits()
    return Limits(
        cache_bytes=max(memory - weights - BESIDES, least),
        kept_bytes=(machine or memory) // SHARE_FOR_KEPT,
        least_bytes=least,
    )


def packed_bytes_of(path: Path, precision: AskedPrecision | None = None) -> int:
    """How many bytes the weights at `path` take once they are loaded at that precision, or the usual one.

    Raises CheckpointError for files that cannot be used, and for more bits than their weights have, unless they are a
    limit.
    """
    with open_model(path) as files:
        return files.placed_bytes(precision) if kernels.available() else files.bytes


def pack_weights(path: Path, packed: PackedFile, precision: AskedPrecision | None = None) -> bool:
    """Write the packed form of the model at `path`, at that precision, if it is not there. False where nothing here
    would use it.

    Raises CheckpointError.
    """
    if not kernels.available():
        return False
    with open_model(path) as files:
        settled = files.settled(precision)
        _, watch = packed_weights(files.checkpoint, files.parameters, packed, physical_cores(), settled)
        watch.close()
    return True
