"""Tokens in, tokens out. May import packed, models, kernels, arithmetic and weights."""

from ouvert.engine.build import build_digest
from ouvert.engine.constraints.grammar import CompiledGrammar, Grammar, Vocabulary, matches, merged_ids
from ouvert.engine.constraints.schemas import of_objects, refuse_wrong
from ouvert.engine.constraints.trial import COMMAND as TRIAL_COMMAND
from ouvert.engine.disk import DiskSpeed, measure_disk
from ouvert.engine.fit import (
    Demand,
    Machine,
    demand_of_files,
    demand_of_known,
    demand_of_shape,
    forecast,
    is_rounded_here,
    measure_machine,
    memory_to_run,
)
from ouvert.engine.interface import (
    Confidence,
    Constraint,
    ConstraintState,
    Engine,
    EngineAdapters,
    EngineBusyError,
    EngineError,
    EngineFacts,
    EngineFailedError,
    EngineFaultError,
    EngineUnreachableError,
    ExpertUse,
    Generation,
    Load,
    MemberLoad,
    OtherEngine,
    Reading,
    Sampling,
    Stopped,
    Token,
    Watch,
)
from ouvert.engine.limits import Limits
from ouvert.engine.loading import (
    AtMost,
    Opened,
    describe_files,
    native_instruction_set,
    open_engine,
    opened_elsewhere,
    pack_weights,
    packed_bytes_of,
)
from ouvert.engine.local import LocalEngine
from ouvert.engine.machine import memory_bytes, physical_cores
from ouvert.engine.memory_plan import DiskForecast, MemoryPlan, forecast_from_disk, least_plan, plan_memory
from ouvert.engine.pool.breaker import Patience
from ouvert.engine.pool.engine import PoolEngine
from ouvert.engine.pool.generation import Rules as PoolRules
from ouvert.engine.pool.opening import MemberAddress, PoolSettings, Wanted, Where, open_moving_pool, open_pool
from ouvert.engine.prefixes.page_files import PageFiles
from ouvert.engine.prefixes.page_keys import key_from_file, key_from_keyring, key_from_passphrase, key_of_this_user
from ouvert.engine.remote.connection import Address, Connection
from ouvert.engine.remote.connection import Lines as AnsweredLines
from ouvert.engine.remote.connection import Timeouts as EngineTimeouts
from ouvert.engine.remote.connection import events as server_sent_events
from ouvert.engine.remote.connection import until as lines_until
from ouvert.engine.remote.endpoint import TokenEndpoint
from ouvert.engine.remote.member import MemberEngine
from ouvert.engine.remote.vllm import Vllm
from ouvert.engine.sampler import SAMPLING_BOUNDS, Bounds, NotFiniteError, entropy_of_shares
from ouvert.engine.variant import BASE, ScaledAdapter, Variant
from ouvert.engine.watching import Watching
from ouvert.kernels import CacheType
from ouvert.models import Edit, EditError, known_shapes
from ouvert.packed import (
    PRECISIONS,
    USUAL,
    Adapter,
    AdapterError,
    AskedPrecision,
    PackedFile,
    Precision,
    PrecisionLimit,
    precision_itself,
    read_peft,
    write_peft,
)
from ouvert.weights import UnwritableError

__all__ = [
    "BASE",
    "PRECISIONS",
    "SAMPLING_BOUNDS",
    "TRIAL_COMMAND",
    "USUAL",
    "Adapter",
    "AdapterError",
    "Address",
    "AnsweredLines",
    "AskedPrecision",
    "AtMost",
    "Bounds",
    "CacheType",
    "CompiledGrammar",
    "Confidence",
    "Connection",
    "Constraint",
    "ConstraintState",
    "Demand",
    "DiskForecast",
    "DiskSpeed",
    "Edit",
    "EditError",
    "Engine",
    "EngineAdapters",
    "EngineBusyError",
    "EngineError",
    "EngineFacts",
    "EngineFailedError",
    "EngineFaultError",
    "EngineTimeouts",
    "EngineUnreachableError",
    "ExpertUse",
    "Generation",
    "Grammar",
    "Limits",
    "Load",
    "LocalEngine",
    "Machine",
    "MemberAddress",
    "MemberEngine",
    "MemberLoad",
    "MemoryPlan",
    "NotFiniteError",
    "Opened",
    "OtherEngine",
    "PackedFile",
    "PageFiles",
    "Patience",
    "PoolEngine",
    "PoolRules",
    "PoolSettings",
    "Precision",
    "PrecisionLimit",
    "Reading",
    "Sampling",
    "ScaledAdapter",
    "Stopped",
    "Token",
    "TokenEndpoint",
    "UnwritableError",
    "Variant",
    "Vllm",
    "Vocabulary",
    "Wanted",
    "Watch",
    "Watching",
    "Where",
    "build_digest",
    "demand_of_files",
    "demand_of_known",
    "demand_of_shape",
    "describe_files",
    "entropy_of_shares",
    "forecast",
    "forecast_from_disk",
    "is_rounded_here",
    "key_from_file",
    "key_from_keyring",
    "key_from_passphrase",
    "key_of_this_user",
    "known_shapes",
    "least_plan",
    "lines_until",
    "matches",
    "measure_disk",
    "measure_machine",
    "memory_bytes",
    "memory_to_run",
    "merged_ids",
    "native_instruction_set",
    "of_objects",
    "open_engine",
    "open_moving_pool",
    "open_pool",
    "opened_elsewhere",
    "pack_weights",
    "packed_bytes_of",
    "physical_cores",
    "plan_memory",
    "precision_itself",
    "read_peft",
    "refuse_wrong",
    "server_sent_events",
    "write_peft",
]
