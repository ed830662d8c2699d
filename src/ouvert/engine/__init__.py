"""Tokens in, tokens out. May import packed, models, kernels, arithmetic and weights."""

from ouvert.engine.constraints.grammar import CompiledGrammar, Grammar, Vocabulary, matches
from ouvert.engine.constraints.schemas import of_objects, refuse_wrong
from ouvert.engine.constraints.trial import COMMAND as TRIAL_COMMAND
from ouvert.engine.interface import (
    Constraint,
    ConstraintState,
    Engine,
    EngineBusyError,
    EngineError,
    EngineFacts,
    EngineFailedError,
    EngineFaultError,
    Generation,
    Load,
    Reading,
    Sampling,
    Stopped,
    Token,
)
from ouvert.engine.loading import Opened, look_at, native_instruction_set, open_engine, pack_weights
from ouvert.engine.local import LocalEngine
from ouvert.engine.prefixes.page_files import PageFiles
from ouvert.engine.prefixes.page_keys import key_of_this_user
from ouvert.engine.variant import BASE, Edit, ScaledAdapter, Variant
from ouvert.kernels import CacheType
from ouvert.packed import PackedFile
from ouvert.weights import UnwritableError

__all__ = [
    "BASE",
    "TRIAL_COMMAND",
    "CacheType",
    "CompiledGrammar",
    "Constraint",
    "ConstraintState",
    "Edit",
    "Engine",
    "EngineBusyError",
    "EngineError",
    "EngineFacts",
    "EngineFailedError",
    "EngineFaultError",
    "Generation",
    "Grammar",
    "Load",
    "LocalEngine",
    "Opened",
    "PackedFile",
    "PageFiles",
    "Reading",
    "Sampling",
    "ScaledAdapter",
    "Stopped",
    "Token",
    "UnwritableError",
    "Variant",
    "Vocabulary",
    "key_of_this_user",
    "look_at",
    "matches",
    "native_instruction_set",
    "of_objects",
    "open_engine",
    "pack_weights",
    "refuse_wrong",
]
