"""Qwen2, Qwen2.5, DeepSeek-R1-Distill-Qwen: llama with biases on q, k and v."""

from ouvert.models.family import Family
from ouvert.models.qwen2.config import config_from_gguf, config_from_hf
from ouvert.models.qwen2.graph import assemble, forward, layers
from ouvert.models.qwen2.names import parameters

FAMILY = Family(
    name="qwen2",
    model_types=frozenset({"qwen2"}),
    gguf_architectures=frozenset({"qwen2"}),
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=parameters,
    assemble=assemble,
    forward=forward,
    layers=layers,
)
