"""What Llama, Mistral and InternLM2 checkpoints say about themselves."""

from collections.abc import Mapping
from typing import Any

from ouvert.models.config_reader import ConfigReader
from ouvert.models.configuration import (
    HARMLESS_GGUF,
    HARMLESS_HF,
    DecoderConfig,
    shape_from_gguf,
    shape_from_hf,
    windows_of_kinds,
)
from ouvert.weights import Tensor

CLASSES = [[name + kind] for name in ("InternLM2", "Llama", "Mistral") for kind in ("ForCausalLM", "Model")]


def config_from_hf(config: Mapping[str, Any], source: str) -> DecoderConfig:
    """`model_type` llama, mistral or internlm2.

    Llama may leave out key heads (as many as query heads) and rope_theta (10000).
    """
    reader = ConfigReader(source, config)
    kind = reader.text("model_type")
    reader.neutral("architectures", [], *CLASSES)
    reader.neutral("attention_bias", False)
    reader.neutral("mlp_bias", False)
    reader.neutral("bias", False)  # InternLM2's word for both
    reader.neutral("activation", "swiglu")  # Falcon3's word beside hidden_act: silu of the gate, times up
    reader.neutral("rope_interleaved", False)  # SmolLM2's way to say that q and k are not permuted
    shape = shape_from_hf(reader, default_theta=10000.0, key_heads_may_be_left_out=kind == "llama")
    # Mistral 7B v0.1 has a window of 4096; later ones say null. A file that says nothing is not taken for either.
    window = reader.optional("sliding_window") if kind == "mistral" else reader.optional("sliding_window", None)
    reader.neutral("use_sliding_window", False)
    layers = shape["num_hidden_layers"]
    kinds = reader.texts("layer_types", None) or ["full_attention" if window is None else "sliding_attention"] * layers
    windows = windows_of_kinds(reader, kinds, layers, window)
    tied = reader.flag("tie_word_embeddings", False)
    reader.finish(HARMLESS_HF)
    return DecoderConfig(**shape, tie_word_embeddings=tied, windows=windows)


def config_from_gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], source: str) -> DecoderConfig:
    """Architecture llama or internlm2.

    llama.cpp gives Mistral the architecture llama, with a window only if the file says so.
    """
    reader = ConfigReader(source, metadata, prefix=f"{metadata['general.architecture']}.")
    shape = shape_from_gguf(reader, tensors)
    window = reader.whole("attention.sliding_window", 0) or None  # 0: none, as llama.cpp has it
    reader.finish(HARMLESS_GGUF)
    return DecoderConfig(**shape, windows=(window,) * shape["num_hidden_layers"])
