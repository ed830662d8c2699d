"""What Mamba-2 checkpoints say about themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.models.config_reader import ConfigReader
from ouvert.models.configuration import HARMLESS_GGUF, HARMLESS_HF, MOST_LAYERS, NO_LIMIT, check_quantisation
from ouvert.models.memory import Memory, StateMemory
from ouvert.weights import Tensor

# What only matters before or in training, or to another program.
HARMLESS = HARMLESS_HF | {
    "chunk_size": "how another program cuts a prompt; the numbers are the same",
    "fused_add_norm": "how another program computes the same",
    "norm_before_gate": "transformers, mamba_ssm as these models use it, and llama.cpp gate first whatever it says",
    "pad_vocab_size_multiple": "how vocab_size was rounded up; the embedding's rows say it",
    "rescale_prenorm_residual": "only before training",
    "residual_in_fp32": "we add residuals in float32 whatever it says",
    "time_step_floor": "only before training",
    "time_step_init_scheme": "only before training",
    "time_step_max": "only before training",
    "time_step_min": "only before training",
    "time_step_rank": "of Mamba; Mamba-2 has one dt a head",
    "time_step_scale": "only before training",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2Config:
    """Field names are those of config.json where it has them; nothing has a default."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int  # channels
    num_heads: int
    n_groups: int
    state_size: int
    conv_kernel: int
    use_bias: bool
    use_conv_bias: bool
    time_step_limit: tuple[float, float | None]  # None: no upper bound
    num_hidden_layers: int
    layer_norm_epsilon: float
    max_position_embeddings: int
    tie_word_embeddings: bool

    @property
    def convolved(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.intermediate_size + 2 * self.n_groups * self.state_size

    def memories(self) -> list[Memory]:
        each = StateMemory(self.intermediate_size, self.conv_kernel, self.state_size, self.convolved)
        return [each] * self.num_hidden_layers

    def sizes(self) -> dict[str, int]:
        """The named dimensions of this model's tensors."""
        return {
            "vocabulary": self.vocab_size,
            "hidden": self.hidden_size,
            "channels": self.intermediate_size,
            "convolved": self.convolved,
            "state_heads": self.num_heads,
            "taps": self.conv_kernel,
        }


# Of softplus(dt), where a file sets none: GGUF has no key for them, and llama.cpp sets none.
NO_LIMITS = (0.0, None)


def config_from_hf(config: Mapping[str, Any], source: str) -> Mamba2Config:
    """`model_type` mamba2. What transformers assumes where a file says nothing is assumed here too."""
    reader = ConfigReader(source, config)
    reader.neutral("model_type", "mamba2")
    reader.neutral("architectures", ["Mamba2ForCausalLM"])
    reader.neutral("hidden_act", "silu")
    reader.neutral("rms_norm", True)
    check_quantisation(reader)
    hidden = reader.integer("hidden_size", 4096)
    channels = int(reader.positive("expand", 2) * hidden)
    reader.neutral("intermediate_size", channels)
    heads = reader.integer("num_heads", 128)
    reader.neutral("head_dim", channels // heads)
    shape = Mamba2Config(
        vocab_size=reader.integer("vocab_size", 32768),
        hidden_size=hidden,
        intermediate_size=channels,
        num_heads=heads,
        n_groups=reader.integer("n_groups", 8),
        state_size=reader.integer("state_size", 128),
        conv_kernel=reader.integer("conv_kernel", 4),
        use_bias=reader.flag("use_bias", False),
        use_conv_bias=reader.flag("use_conv_bias", True),
        time_step_limit=reader.interval("time_step_limit", NO_LIMITS),
        num_hidden_layers=reader.integer("num_hidden_layers", 64, most=MOST_LAYERS),
        layer_norm_epsilon=reader.number("layer_norm_epsilon", 1e-5),
        max_position_embeddings=NO_LIMIT,
        tie_word_embeddings=reader.flag("tie_word_embeddings", False),
    )
    check_heads(reader, shape)
    reader.finish(HARMLESS)
    return shape


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> Mamba2Config:
    """Architecture mamba2."""
    reader = ConfigReader(source, metadata, prefix="mamba2.")
    reader.neutral("feed_forward_length", 0)
    reader.neutral("attention.head_count", 0)
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise reader.fault("the tensor token_embd.weight is missing or has no rows and columns")
    shape = Mamba2Config(
        vocab_size=reader.integer("vocab_size", embedding.shape[0]),
        hidden_size=reader.integer("embedding_length"),
        intermediate_size=reader.integer("ssm.inner_size"),
        num_heads=reader.integer("ssm.time_step_rank"),  # llama.cpp's name for it
        n_groups=reader.integer("ssm.group_count"),
        state_size=reader.integer("ssm.state_size"),
        conv_kernel=reader.integer("ssm.conv_kernel"),
        use_bias=False,
        use_conv_bias=True,
        time_step_limit=NO_LIMITS,
        num_hidden_layers=reader.integer("block_count", most=MOST_LAYERS),
        layer_norm_epsilon=reader.number("attention.layer_norm_rms_epsilon"),
        max_position_embeddings=reader.integer("context_length"),
        tie_word_embeddings="output.weight" not in tensors,
    )
    check_heads(reader, shape)
    reader.finish(HARMLESS_GGUF)
    return shape


def check_heads(reader: ConfigReader, shape: Mamba2Config) -> None:
    """Raise CheckpointError for channels, heads and groups that do not go into one another."""
    if shape.intermediate_size % shape.num_heads or shape.num_heads % shape.n_groups:
        raise reader.fault(
            f"{shape.intermediate_size} channels cannot be cut evenly into {shape.num_heads} heads, or those into "
            f"{shape.n_groups} groups"
        )
