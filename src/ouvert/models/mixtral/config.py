"""What Mixtral checkpoints say about themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.models.config_reader import ConfigReader
from ouvert.models.configuration import (
    HARMLESS_GGUF,
    HARMLESS_HF,
    DecoderConfig,
    check_experts,
    experts_are_plain,
    shape_from_gguf,
    shape_from_hf,
)
from ouvert.weights import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtralConfig(DecoderConfig):
    """`intermediate_size` is that of one expert."""

    num_local_experts: int
    num_experts_per_tok: int

    def sizes(self) -> dict[str, int]:
        return DecoderConfig.sizes(self) | {"experts": self.num_local_experts, "top_k": self.num_experts_per_tok}

    def has_experts(self, layer: int) -> bool:
        return True


def config_from_hf(config: Mapping[str, Any], source: str) -> MixtralConfig:
    """`model_type` mixtral. Only head_dim, sliding_window (none) and tie_word_embeddings (false) may be left out."""
    reader = ConfigReader(source, config)
    reader.neutral("model_type", "mixtral")
    reader.neutral("architectures", [], ["MixtralForCausalLM"], ["MixtralModel"])
    reader.neutral("attention_bias", False)
    shape = shape_from_hf(reader, default_theta=None, key_heads_may_be_left_out=False)
    window = reader.optional("sliding_window", None)
    tied = reader.flag("tie_word_embeddings", False)
    experts, top_k = reader.integer("num_local_experts"), reader.integer("num_experts_per_tok")
    check_experts(reader, experts, top_k)
    reader.finish(HARMLESS_HF | {"router_jitter_noise": "only in training"})
    return MixtralConfig(
        **shape,
        tie_word_embeddings=tied,
        windows=(window,) * shape["num_hidden_layers"],
        num_local_experts=experts,
        num_experts_per_tok=top_k,
    )


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> MixtralConfig:
    """Architecture llama with an expert_count. A window counts only if the file states one, as for Mistral."""
    reader = ConfigReader(source, metadata, prefix="llama.")
    experts, top_k = reader.integer("expert_count"), reader.integer("expert_used_count")
    check_experts(reader, experts, top_k)
    experts_are_plain(reader)
    reader.neutral("expert_weights_norm", True)
    shape = shape_from_gguf(reader, tensors, with_experts=True)
    reader.neutral("expert_feed_forward_length", shape["intermediate_size"])
    window = reader.whole("attention.sliding_window", 0) or None  # 0: none, as llama.cpp has it
    reader.finish(HARMLESS_GGUF)
    return MixtralConfig(
        **shape,
        windows=(window,) * shape["num_hidden_layers"],
        num_local_experts=experts,
        num_experts_per_tok=top_k,
    )
