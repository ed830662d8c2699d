"""Qwen3: llama with a norm on every head of q and k; and Qwen3-Embedding, the same without a head."""

from ouvert.models.family import Family
from ouvert.models.qwen3.config import config_from_gguf, config_from_hf
from ouvert.models.qwen3.graph import assemble, embed, forward, layers
from ouvert.models.qwen3.names import embedding_parameters, parameters

FAMILY = Family(
    name="qwen3",
    model_types=frozenset({"qwen3"}),
    gguf_architectures=frozenset({"qwen3"}),
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=parameters,
    assemble=assemble,
    forward=forward,
    layers=layers,
)
# Zhang et al., Qwen3 Embedding, arXiv:2506.05176: the last token's normed value, at length 1.
EMBEDDING = Family(
    name="qwen3_embedding",
    model_types=FAMILY.model_types,
    gguf_architectures=FAMILY.gguf_architectures,
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=embedding_parameters,
    assemble=assemble,
    forward=embed,
    layers=layers,
    embeds=True,
)
