"""Qwen3-MoE: Qwen3 with a mixture of experts in place of most or all feed-forward layers."""

from ouvert.models.family import Family
from ouvert.models.qwen3_moe.config import config_from_gguf, config_from_hf
from ouvert.models.qwen3_moe.graph import assemble, forward, layers
from ouvert.models.qwen3_moe.names import parameters

FAMILY = Family(
    name="qwen3_moe",
    model_types=frozenset({"qwen3_moe"}),
    gguf_architectures=frozenset({"qwen3moe"}),
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=parameters,
    assemble=assemble,
    forward=forward,
    layers=layers,
)
