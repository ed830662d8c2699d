"""What gpt-oss checkpoints say about themselves, in Hugging Face's words, OpenAI's and GGUF's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.models.config_reader import ConfigReader
from ouvert.models.configuration import (
    HARMLESS_GGUF,
    HARMLESS_HF,
    MOST_LAYERS,
    DecoderConfig,
    check_experts,
    check_shape,
    shape_from_gguf,
    shape_from_hf,
    windows_of_kinds,
)
from ouvert.models.rope import RopeConfig, Yarn, yarn_attention_factor
from ouvert.models.rope import checked as checked_rope
from ouvert.weights import Tensor

# What the models were made with, where a file does not say it: GptOssConfig in transformers, swiglu and RMSNorm in
# OpenAI's torch/model.py, openai-moe in llama.cpp.
SWIGLU_ALPHA = 1.702
SWIGLU_LIMIT = 7.0
ORIGINAL_EPS = 1e-5

# Keys of OpenAI's own config.json; it has no model_type to be known by.
ORIGINAL_KEYS = frozenset({"num_experts", "experts_per_token", "swiglu_limit", "initial_context_length"})


@dataclass(frozen=True, slots=True, kw_only=True)
class GptOssConfig(DecoderConfig):
    """`intermediate_size` is that of one expert."""

    num_local_experts: int
    num_experts_per_tok: int
    swiglu_alpha: float
    swiglu_limit: float

    def sizes(self) -> dict[str, int]:
        return DecoderConfig.sizes(self) | {"experts": self.num_local_experts, "top_k": self.num_experts_per_tok}

    def has_experts(self, layer: int) -> bool:
        return True


def alternating(window: int | None, layers: int) -> tuple[int | None, ...]:
    """Layers 0, 2, 4 ... have the window."""
    return tuple(window if n % 2 == 0 else None for n in range(layers))


def config_from_hf(config: Mapping[str, Any], source: str) -> GptOssConfig:
    """`model_type` gpt_oss, or OpenAI's own words for the same."""
    if "model_type" not in config and config.keys() >= ORIGINAL_KEYS:
        return config_from_original(config, source)
    reader = ConfigReader(source, config)
    reader.neutral("model_type", "gpt_oss")
    reader.neutral("architectures", ["GptOssForCausalLM"])
    reader.neutral("attention_bias", True)
    quantised = reader.mapping("quantization_config", None)
    if quantised is not None:  # which tensors are in 4 bits, the tensors say themselves
        how = ConfigReader(f"{source}: quantization_config", quantised)
        how.neutral("quant_method", "mxfp4")
        how.finish({"modules_to_not_convert": "the tensors say it", "dequantize": "how another program loads it"})
    shape = shape_from_hf(reader, default_theta=None, key_heads_may_be_left_out=False)
    layers = shape["num_hidden_layers"]
    kept = reader.integer("num_experts_per_tok")
    reader.neutral("experts_per_token", kept)  # the published files say some things twice
    scaling = shape["rope"].scaling
    if isinstance(scaling, Yarn):
        reader.neutral("initial_context_length", scaling.original_max_position_embeddings)
    window = reader.optional("sliding_window")
    kinds = reader.texts("layer_types", None)
    result = GptOssConfig(
        **shape,
        windows=alternating(window, layers) if kinds is None else windows_of_kinds(reader, kinds, layers, window),
        tie_word_embeddings=reader.flag("tie_word_embeddings", False),
        num_local_experts=reader.integer("num_local_experts"),
        num_experts_per_tok=kept,
        swiglu_alpha=reader.number("swiglu_alpha", SWIGLU_ALPHA),
        swiglu_limit=reader.number("swiglu_limit", SWIGLU_LIMIT),
    )
    reader.finish(HARMLESS_HF)
    check_experts(reader, result.num_local_experts, result.num_experts_per_tok)
    return result


def config_from_original(config: Mapping[str, Any], source: str) -> GptOssConfig:
    """OpenAI's original/config.json."""
    reader = ConfigReader(source, config)
    head_dim, original = reader.integer("head_dim"), reader.integer("initial_context_length")
    factor = reader.positive("rope_scaling_factor")
    scaling = Yarn(
        factor=factor,
        original_max_position_embeddings=original,
        beta_fast=reader.positive("rope_ntk_beta"),
        beta_slow=reader.positive("rope_ntk_alpha"),
        attention_factor=yarn_attention_factor(factor),
        truncate=False,
    )
    theta = reader.positive("rope_theta")
    stretched = scaling if factor > 1 else None
    rope = checked_rope(reader, RopeConfig(rope_theta=theta, rotary_dim=head_dim, scaling=stretched))
    layers = reader.integer("num_hidden_layers", most=MOST_LAYERS)
    result = GptOssConfig(
        vocab_size=reader.integer("vocab_size"),
        hidden_size=reader.integer("hidden_size"),
        intermediate_size=reader.integer("intermediate_size"),
        num_hidden_layers=layers,
        num_attention_heads=reader.integer("num_attention_heads"),
        num_key_value_heads=reader.integer("num_key_value_heads"),
        head_dim=head_dim,
        rms_norm_eps=ORIGINAL_EPS,
        max_position_embeddings=max(int(original * factor), 1),
        tie_word_embeddings=False,
        windows=alternating(reader.optional("sliding_window"), layers),
        rope=rope,
        num_local_experts=reader.integer("num_experts"),
        num_experts_per_tok=reader.integer("experts_per_token"),
        swiglu_alpha=SWIGLU_ALPHA,
        swiglu_limit=reader.number("swiglu_limit"),
    )
    reader.finish({})
    check_shape(reader, {name: getattr(result, name) for name in GptOssConfig.__dataclass_fields__})
    check_experts(reader, result.num_local_experts, result.num_experts_per_tok)
    return result


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> GptOssConfig:
    """Architecture gpt-oss. YaRN's ramp is not truncated and the gate's constants are the model's, which GGUF omits."""
    reader = ConfigReader(source, metadata, prefix="gpt-oss.")
    experts, kept = reader.integer("expert_count"), reader.integer("expert_used_count")
    shape = shape_from_gguf(reader, tensors, truncate=False, with_experts=True)
    inner = reader.integer("expert_feed_forward_length", shape["intermediate_size"])
    window = reader.optional("attention.sliding_window")
    reader.finish(HARMLESS_GGUF)
    result = GptOssConfig(
        **shape | {"intermediate_size": inner},
        windows=alternating(window, shape["num_hidden_layers"]),
        num_local_experts=experts,
        num_experts_per_tok=kept,
        swiglu_alpha=SWIGLU_ALPHA,
        swiglu_limit=SWIGLU_LIMIT,
    )
    check_experts(reader, result.num_local_experts, result.num_experts_per_tok)
    return result
