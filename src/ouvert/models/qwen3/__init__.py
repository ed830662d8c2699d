"""Qwen3: llama with a norm on every head of q and k."""

from ouvert.models.family import Family
from ouvert.models.qwen3.config import config_from_gguf, config_from_hf
from ouvert.models.qwen3.graph import assemble, forward
from ouvert.models.qwen3.names import parameters

FAMILY = Family(
    name="qwen3",
    model_types=frozenset({"qwen3"}),
    gguf_architectures=frozenset({"qwen3"}),
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=parameters,
    assemble=assemble,
    forward=forward,
)
