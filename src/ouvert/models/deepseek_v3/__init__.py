"""DeepSeek-V3 and what is built alike: latent attention, and experts chosen by corrected likings."""

from ouvert.models.deepseek_v3.config import config_from_gguf, config_from_hf
from ouvert.models.deepseek_v3.graph import assemble, forward, layers
from ouvert.models.deepseek_v3.names import parameters
from ouvert.models.family import Family

FAMILY = Family(
    name="deepseek_v3",
    model_types=frozenset({"deepseek_v2", "deepseek_v3", "kimi_k2"}),
    gguf_architectures=frozenset({"deepseek2"}),
    config_from_hf=config_from_hf,
    config_from_gguf=config_from_gguf,
    parameters=parameters,
    assemble=assemble,
    forward=forward,
    layers=layers,
)
