"""Tokens in, tokens out. May import models, kernels, arithmetic and weights."""

from ouvert.engine.choosing import LAYOUT_VERSION, PackedFile
from ouvert.engine.loading import Opened, open_engine, pack_weights
from ouvert.engine.local import LocalEngine
from ouvert.engine.waist import Engine, EngineError, EngineFacts, Generation, Sampling, Stopped, Token

__all__ = [
    "LAYOUT_VERSION",
    "Engine",
    "EngineError",
    "EngineFacts",
    "Generation",
    "LocalEngine",
    "Opened",
    "PackedFile",
    "Sampling",
    "Stopped",
    "Token",
    "open_engine",
    "pack_weights",
]
