"""Mixtral: Mistral's decoder with a mixture of experts in place of its feed-forward layers."""

from ouvert.models.family import Family
from ouvert.models.mixtral.config import config_from_gguf, config_from_hf
from ouvert.models.mixtral.graph import assemble, forward, layers
from ouvert.models.mixtral.names import parameters

FAMILY = Family(
    name="mixtral",
    model_types=frozenset({"mixtral"}),
    gguf_architectures=frozenset({"llama"}),  # with experts: families.MIXTURES
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=parameters,
    assemble=assemble,
    forward=forward,
    layers=layers,
)
