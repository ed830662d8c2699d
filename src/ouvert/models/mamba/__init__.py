"""Mamba: selective state spaces in place of attention; its cache does not grow with the text."""

from ouvert.models.family import Family
from ouvert.models.mamba.config import config_from_gguf, config_from_hf
from ouvert.models.mamba.graph import assemble, forward, layers
from ouvert.models.mamba.names import parameters

FAMILY = Family(
    name="mamba",
    model_types=frozenset({"falcon_mamba", "mamba"}),
    gguf_architectures=frozenset({"mamba"}),
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=parameters,
    assemble=assemble,
    forward=forward,
    layers=layers,
)
