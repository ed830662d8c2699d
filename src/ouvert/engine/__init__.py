"""Tokens in, tokens out. May import models, kernels, arithmetic and weights."""

from ouvert.engine.loading import Opened, open_engine
from ouvert.engine.local import LocalEngine
from ouvert.engine.waist import Engine, EngineError, EngineFacts, Generation, Sampling, Stopped, Token

__all__ = [
    "Engine",
    "EngineError",
    "EngineFacts",
    "Generation",
    "LocalEngine",
    "Opened",
    "Sampling",
    "Stopped",
    "Token",
    "open_engine",
]
