"""What Qwen3-MoE checkpoints say about themselves."""

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
    within_one_chunk,
)
from ouvert.weights import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Qwen3MoeConfig(DecoderConfig):
    """`intermediate_size` is that of layers without experts, `moe_intermediate_size` that of one expert."""

    num_experts: int
    num_experts_per_tok: int
    moe_intermediate_size: int
    norm_topk_prob: bool  # whether a token's expert weights add up to 1
    decoder_sparse_step: int
    mlp_only_layers: tuple[int, ...]

    def sizes(self) -> dict[str, int]:
        return DecoderConfig.sizes(self) | {
            "experts": self.num_experts,
            "top_k": self.num_experts_per_tok,
            "expert_inner": self.moe_intermediate_size,
        }

    def has_experts(self, layer: int) -> bool:
        """Every decoder_sparse_step-th layer has, but for mlp_only_layers, which count from 0."""
        return layer not in self.mlp_only_layers and (layer + 1) % self.decoder_sparse_step == 0


def config_from_hf(config: Mapping[str, Any], source: str) -> Qwen3MoeConfig:
    """`model_type` qwen3_moe. Only tie_word_embeddings, windows (none) and which layers have experts (all) may be left
    out."""
    reader = ConfigReader(source, config)
    reader.neutral("model_type", "qwen3_moe")
    reader.neutral("architectures", [], ["Qwen3MoeForCausalLM"], ["Qwen3MoeModel"])
    reader.neutral("attention_bias", False)
    reader.neutral("qkv_bias", False)  # Qwen3-Coder says these three
    reader.neutral("use_qk_norm", True)
    reader.neutral("shared_expert_intermediate_size", 0)
    reader.integer("head_dim")  # it is not hidden_size / num_attention_heads, so it must be said
    shape = shape_from_hf(reader, default_theta=None, key_heads_may_be_left_out=False)
    shape = within_one_chunk(reader, shape)
    window = window_from_hf(reader, shape["num_hidden_layers"])
    tied = reader.flag("tie_word_embeddings", False)
    experts, top_k = experts_from_hf(reader), reader.integer("num_experts_per_tok")
    check_experts(reader, experts, top_k)
    result = Qwen3MoeConfig(
        **shape,
        tie_word_embeddings=tied,
        windows=(window,) * shape["num_hidden_layers"],
        num_experts=experts,
        num_experts_per_tok=top_k,
        moe_intermediate_size=reader.integer("moe_intermediate_size"),
        norm_topk_prob=reader.flag("norm_topk_prob"),
        decoder_sparse_step=reader.integer("decoder_sparse_step", 1),
        mlp_only_layers=reader.whole_numbers("mlp_only_layers", ()),
    )
    reader.finish(HARMLESS_HF)
    return result


def experts_from_hf(reader: ConfigReader) -> int:
    """How many there are; transformers has two names for it."""
    if reader.optional("num_experts", None) is None:
        return reader.integer("num_local_experts")
    experts = reader.integer("num_experts")
    reader.neutral("num_local_experts", experts)
    return experts


def window_from_hf(reader: ConfigReader, layers: int) -> int | None:
    """One for all layers, if it is switched on: transformers' model of this family looks at nothing else.

    Raises CheckpointError for a file that switches it on for some layers only.
    """
    switched_on = reader.flag("use_sliding_window", False)
    width = reader.integer("sliding_window") if switched_on else reader.optional("sliding_window", None)
    first = reader.whole("max_window_layers", 0)
    if not switched_on:
        reader.neutral("layer_types", ["full_attention"] * layers)
        return None
    if first > 0:
        raise reader.fault(f"use_sliding_window is true and max_window_layers {first}, and we compute windows on all")
    reader.neutral("layer_types", ["sliding_attention"] * layers)
    return width


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> Qwen3MoeConfig:
    """Architecture qwen3moe. It has no words for windows or for layers without experts; weights are normalised unless
    the file says otherwise, as llama.cpp computes."""
    reader = ConfigReader(source, metadata, prefix="qwen3moe.")
    experts, top_k = reader.integer("expert_count"), reader.integer("expert_used_count")
    check_experts(reader, experts, top_k)
    experts_are_plain(reader)
    shape = shape_from_gguf(reader, tensors, with_experts=True)
    result = Qwen3MoeConfig(
        **shape,
        windows=(None,) * shape["num_hidden_layers"],
        num_experts=experts,
        num_experts_per_tok=top_k,
        moe_intermediate_size=reader.integer("expert_feed_forward_length"),
        norm_topk_prob=reader.flag("expert_weights_norm", True),
        decoder_sparse_step=1,
        mlp_only_layers=(),
    )
    reader.finish(HARMLESS_GGUF)
    return result
