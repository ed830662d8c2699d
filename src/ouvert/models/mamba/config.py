"""What Mamba checkpoints say about themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.models.config_reader import ConfigReader
from ouvert.models.configuration import HARMLESS_GGUF, HARMLESS_HF, MOST_LAYERS, NO_LIMIT, check_quantisation
from ouvert.models.memory import Memory, StateMemory
from ouvert.weights import Tensor

# What only matters before or in training, or to another program.
HARMLESS = HARMLESS_HF | {
    "fused_add_norm": "how another program computes the same",
    "pad_vocab_size_multiple": "how vocab_size was rounded up; the embedding's rows say it",
    "rescale_prenorm_residual": "only before training",
    "residual_in_fp32": "we add residuals in float32 whatever it says",
    "time_step_floor": "only before training",
    "time_step_init_scheme": "only before training",
    "time_step_max": "only before training",
    "time_step_min": "only before training",
    "time_step_scale": "only before training",
    "use_falcon_mambapy": "how another program computes the same",
    "use_associative_scan": "how another program computes the same",
    "use_mambapy": "how another program computes the same",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MambaConfig:
    """Field names are those of config.json where it has them; nothing has a default."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int  # channels
    state_size: int
    conv_kernel: int
    time_step_rank: int
    num_hidden_layers: int
    layer_norm_epsilon: float
    mixer_rms_eps: float | None  # FalconMamba: dt, B and C have norms; None: they have not
    max_position_embeddings: int
    tie_word_embeddings: bool

    def memories(self) -> list[Memory]:
        channels = self.intermediate_size
        return [StateMemory(channels, self.conv_kernel, self.state_size, channels)] * self.num_hidden_layers

    def sizes(self) -> dict[str, int]:
        """The named dimensions of this model's tensors."""
        return {
            "vocabulary": self.vocab_size,
            "hidden": self.hidden_size,
            "channels": self.intermediate_size,
            "states": self.state_size,
            "taps": self.conv_kernel,
            "rank": self.time_step_rank,
        }


def config_from_hf(config: Mapping[str, Any], source: str) -> MambaConfig:
    """`model_type` mamba or falcon_mamba. What transformers assumes where a file says nothing is assumed here too."""
    reader = ConfigReader(source, config)
    reader.neutral("model_type", "mamba", "falcon_mamba")
    falcon = reader.raw["model_type"] == "falcon_mamba"
    reader.neutral("architectures", ["FalconMambaForCausalLM" if falcon else "MambaForCausalLM"])
    reader.neutral("hidden_act", "silu")
    reader.neutral("use_bias", False)
    reader.neutral("use_conv_bias", True)
    reader.neutral("rms_norm", True)
    reader.neutral("ssm_cfg", {})
    check_quantisation(reader)
    hidden = reader.integer("hidden_size")
    channels = int(reader.positive("expand", 2) * hidden)
    if falcon:  # says something else in `expand`, and goes by this
        channels = reader.integer("intermediate_size", channels)
    layers = reader.integer("num_hidden_layers", most=MOST_LAYERS)
    # The published files say some things twice.
    reader.neutral("d_model", hidden)
    reader.neutral("d_inner", channels)
    reader.neutral("intermediate_size", channels)
    reader.neutral("n_layer", layers)
    rank = -(-hidden // 16)
    if reader.raw.get("time_step_rank") == "auto":
        reader.text("time_step_rank")
    else:
        rank = reader.integer("time_step_rank", rank)
    shape = MambaConfig(
        vocab_size=reader.integer("vocab_size"),
        hidden_size=hidden,
        intermediate_size=channels,
        state_size=reader.integer("state_size", 16),
        conv_kernel=reader.integer("conv_kernel", 4),
        time_step_rank=rank,
        num_hidden_layers=layers,
        layer_norm_epsilon=reader.number("layer_norm_epsilon", 1e-5),
        mixer_rms_eps=reader.number("mixer_rms_eps", 1e-6) if falcon else None,
        max_position_embeddings=NO_LIMIT,
        tie_word_embeddings=reader.flag("tie_word_embeddings", True),
    )
    reader.finish(HARMLESS)
    return shape


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> MambaConfig:
    """Architecture mamba."""
    reader = ConfigReader(source, metadata, prefix="mamba.")
    reader.neutral("feed_forward_length", 0)
    reader.neutral("attention.head_count", 0)
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise reader.fault("the tensor token_embd.weight is missing or has no rows and columns")
    eps = reader.number("attention.layer_norm_rms_epsilon")
    shape = MambaConfig(
        vocab_size=reader.integer("vocab_size", embedding.shape[0]),
        hidden_size=reader.integer("embedding_length"),
        intermediate_size=reader.integer("ssm.inner_size"),
        state_size=reader.integer("ssm.state_size"),
        conv_kernel=reader.integer("ssm.conv_kernel"),
        time_step_rank=reader.integer("ssm.time_step_rank"),
        num_hidden_layers=reader.integer("block_count", most=MOST_LAYERS),
        layer_norm_epsilon=eps,
        mixer_rms_eps=eps if reader.flag("ssm.dt_b_c_rms", False) else None,  # the file has one eps for all norms
        max_position_embeddings=reader.integer("context_length"),
        tie_word_embeddings="output.weight" not in tensors,
    )
    reader.finish(HARMLESS_GGUF)
    return shape
