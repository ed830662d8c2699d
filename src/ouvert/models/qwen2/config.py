"""What Qwen2 checkpoints say about themselves."""

from collections.abc import Mapping
from typing import Any

from ouvert.models.config_reader import ConfigReader
from ouvert.models.configuration import (
    HARMLESS_GGUF,
    HARMLESS_HF,
    DecoderConfig,
    shape_from_gguf,
    shape_from_hf,
    windows_from_hf,
    within_one_chunk,
)
from ouvert.weights import Tensor


def config_from_hf(config: Mapping[str, Any], source: str) -> DecoderConfig:
    """`model_type` qwen2. Only tie_word_embeddings (false) and the keys about windows (none) may be left out."""
    reader = ConfigReader(source, config)
    reader.neutral("model_type", "qwen2")
    reader.neutral("architectures", [], ["Qwen2ForCausalLM"], ["Qwen2Model"])
    reader.neutral("attention_bias", True)
    reader.neutral("use_mrope", False)
    shape = shape_from_hf(reader, default_theta=None, key_heads_may_be_left_out=False)
    shape = within_one_chunk(reader, shape)
    windows = windows_from_hf(reader, shape["num_hidden_layers"])
    tied = reader.flag("tie_word_embeddings", False)
    reader.finish(HARMLESS_HF)
    return DecoderConfig(**shape, tie_word_embeddings=tied, windows=windows)


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> DecoderConfig:
    """Architecture qwen2. A GGUF file says nothing about windows; Qwen2 checkpoints as published have none."""
    reader = ConfigReader(source, metadata, prefix="qwen2.")
    shape = shape_from_gguf(reader, tensors)
    reader.finish(HARMLESS_GGUF)
    return DecoderConfig(**shape, windows=(None,) * shape["num_hidden_layers"])
