"""Llama 2, 3, 3.1 and later, SmolLM2, Mistral 7B, InternLM2.5: grouped-query attention, SwiGLU, nothing else."""

from ouvert.models.family import Family
from ouvert.models.llama.config import config_from_gguf, config_from_hf
from ouvert.models.llama.graph import assemble, forward, layers
from ouvert.models.llama.names import parameters

FAMILY = Family(
    name="llama",
    model_types=frozenset({"internlm2", "llama", "mistral"}),
    gguf_architectures=frozenset({"internlm2", "llama"}),
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=parameters,
    assemble=assemble,
    forward=forward,
    layers=layers,
)
