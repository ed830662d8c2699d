"""What Qwen3 checkpoints say about themselves."""

from collections.abc import Mapping
from typing import Any

from ouvert.models.configuration import (
    HARMLESS_GGUF,
    HARMLESS_HF,
    DecoderConfig,
    shape_from_gguf,
    shape_from_hf,
    windows_from_hf,
)
from ouvert.models.stated import Stated
from ouvert.weights import Tensor


def config_from_hf(config: Mapping[str, Any], source: str) -> DecoderConfig:
    """`model_type` qwen3. Only tie_word_embeddings (false) and the keys about windows (none) may be left out."""
    stated = Stated(source, config)
    stated.neutral("model_type", "qwen3")
    stated.neutral("architectures", [], ["Qwen3ForCausalLM"], ["Qwen3Model"])
    stated.neutral("attention_bias", False)
    stated.neutral("use_mrope", False)
    stated.integer("head_dim")  # it is not hidden_size / num_attention_heads, so it must be said
    shape = shape_from_hf(stated, default_theta=None, key_heads_may_be_left_out=False)
    windows = windows_from_hf(stated, shape["num_hidden_layers"])
    tied = stated.flag("tie_word_embeddings", False)
    stated.finish(HARMLESS_HF)
    return DecoderConfig(**shape, tie_word_embeddings=tied, windows=windows)


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> DecoderConfig:
    """Architecture qwen3. A GGUF file says nothing about windows; Qwen3 checkpoints as published have none."""
    stated = Stated(source, metadata, prefix="qwen3.")
    shape = shape_from_gguf(stated, tensors)
    stated.finish(HARMLESS_GGUF)
    return DecoderConfig(**shape, windows=(None,) * shape["num_hidden_layers"])
