"""gpt-oss: alternating windows, attention sinks, YaRN, and a mixture of experts in 4 bits."""

from ouvert.models.family import Family
from ouvert.models.gpt_oss.config import ORIGINAL_KEYS, config_from_gguf, config_from_hf
from ouvert.models.gpt_oss.graph import assemble, forward, layers
from ouvert.models.gpt_oss.names import parameters

__all__ = ["FAMILY", "ORIGINAL_KEYS"]

FAMILY = Family(
    name="gpt_oss",
    model_types=frozenset({"gpt_oss"}),
    gguf_architectures=frozenset({"gpt-oss"}),
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=parameters,
    assemble=assemble,
    forward=forward,
    layers=layers,
)
