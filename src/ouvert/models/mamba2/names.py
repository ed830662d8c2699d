"""Tensor names of Mamba-2: Hugging Face's (transformers, models/mamba2) and GGUF's (gguf-py, constants.py)."""

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ouvert.models.mamba2.config import Mamba2Config
from ouvert.models.parameters import Parameter, Row, match
from ouvert.models.sources import Plain, Source
from ouvert.weights import Checkpoint, Tensor

WHOLE = (
    Row("embedding", "embedding", "vocabulary hidden", "backbone.embeddings.weight", "token_embd.weight"),
    Row("norm", "norm", "hidden", "backbone.norm_f.weight", "output_norm.weight"),
    Row("unembedding", "linear", "vocabulary hidden", "lm_head.weight", "output.weight"),
)
HF, GGUF = "backbone.layers.{n}.", "blk.{n}."
MIXER = HF + "mixer."
# Parts of one tensor in files, apart here: the gate, what is convolved (x, B and C), and dt.
LAYER = (
    Row("mixer_norm", "norm", "hidden", HF + "norm.weight", GGUF + "attn_norm.weight"),
    Row("gate", "linear", "channels hidden", MIXER + "in_proj.weight.gate", GGUF + "ssm_in.weight.gate"),
    Row("xBC", "linear", "convolved hidden", MIXER + "in_proj.weight.xBC", GGUF + "ssm_in.weight.xBC"),
    Row("dt", "linear", "state_heads hidden", MIXER + "in_proj.weight.dt", GGUF + "ssm_in.weight.dt"),
    Row("dt_bias", "bias", "state_heads", MIXER + "dt_bias", GGUF + "ssm_dt.bias"),
    Row("convolution", "convolution", "convolved taps", MIXER + "conv1d.weight", GGUF + "ssm_conv1d.weight"),
    Row("D", "D", "state_heads", MIXER + "D", GGUF + "ssm_d"),
    Row("inner_norm", "norm", "channels", MIXER + "norm.weight", GGUF + "ssm_norm.weight"),
    Row("out", "linear", "hidden channels", MIXER + "out_proj.weight", GGUF + "ssm_out.weight"),
)
CONVOLUTION_BIAS = (Row("convolution_bias", "bias", "convolved", MIXER + "conv1d.bias", GGUF + "ssm_conv1d.bias"),)
# GGUF has no names for these.
BIASES = (
    Row("gate_bias", "bias", "channels", MIXER + "in_proj.bias.gate", ""),
    Row("xBC_bias", "bias", "convolved", MIXER + "in_proj.bias.xBC", ""),
    Row("dt_second_bias", "bias", "state_heads", MIXER + "in_proj.bias.dt", ""),
    Row("out_bias", "bias", "hidden", MIXER + "out_proj.bias", ""),
)
# GGUF holds A itself, -exp(A_log).
A_LOG = (Row("A_log", "A", "state_heads", MIXER + "A_log", ""),)
A = (Row("A", "A", "state_heads", "", GGUF + "ssm_a"),)


def parameters(config: Mamba2Config, checkpoint: Checkpoint) -> list[Parameter]:
    """Every parameter, in the order a forward pass meets them."""
    return match(
        WHOLE,
        (
            *LAYER,
            *(CONVOLUTION_BIAS if config.use_conv_bias else ()),
            *(BIASES if config.use_bias else ()),
            *(A if checkpoint.format == "gguf" else A_LOG),
        ),
        checkpoint,
        layers=config.num_hidden_layers,
        sizes=config.sizes(),
        tied=config.tie_word_embeddings,
        frequencies=lambda: np.empty(0),
        unfolded=unfold(checkpoint.tensors, config),
    )


def unfold(tensors: Mapping[str, Tensor], config: Mamba2Config) -> dict[str, Source]:
    """What goes in under a name for each of its parts, and vectors without their axes of length 1 or of groups.

    One of another shape than the configuration says keeps its name, so that `match` finds it left over. mamba_ssm and
    Mistral call the embedding in the singular.
    """
    channels, convolved, heads = config.intermediate_size, config.convolved, config.num_heads
    ends = (("gate", channels), ("xBC", channels + convolved), ("dt", channels + convolved + heads))
    flat = {
        "conv1d.weight": ((convolved, 1, config.conv_kernel), (convolved, config.conv_kernel)),
        "ssm_a": ((heads, 1), (heads,)),
        "ssm_d": ((heads, 1), (heads,)),
        "ssm_norm.weight": ((config.n_groups, channels // config.n_groups), (channels,)),
    }
    result: dict[str, Source] = {}
    for name, tensor in tensors.items():
        found, wanted = next((each for ending, each in flat.items() if name.endswith(ending)), (None, ()))
        if re.search(r"\.(in_proj|ssm_in)\.(weight|bias)$", name) and tensor.shape[0] == ends[-1][1]:
            first = 0
            for part, end in ends:
                result[f"{name}.{part}"], first = Plain(tensor.rows(first, end)), end
        elif tensor.shape == found:
            result[name] = Plain(replace(tensor, shape=wanted))
        else:
            result[name.replace("backbone.embedding.", "backbone.embeddings.")] = Plain(tensor)
    return result
