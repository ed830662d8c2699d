"""Mamba-2: a state space with few heads, whose prompts are scanned in blocks; its cache does not grow with the text."""

from ouvert.models.family import Family
from ouvert.models.mamba2.config import config_from_gguf, config_from_hf
from ouvert.models.mamba2.graph import assemble, forward, layers
from ouvert.models.mamba2.names import parameters

FAMILY = Family(
    name="mamba2",
    model_types=frozenset({"mamba2"}),
    gguf_architectures=frozenset({"mamba2"}),
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=parameters,
    assemble=assemble,
    forward=forward,
    layers=layers,
)
