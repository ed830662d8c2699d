"""Tensor names of Mamba: Hugging Face's (transformers, models/mamba) and GGUF's (gguf-py, constants.py)."""

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ouvert.models.mamba.config import MambaConfig
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
# Parts of one tensor in files, apart here: x and gate of what goes in, dt, B and C of what the channels tell.
LAYER = (
    Row("mixer_norm", "norm", "hidden", HF + "norm.weight", GGUF + "attn_norm.weight"),
    Row("gate", "linear", "channels hidden", MIXER + "in_proj.gate", GGUF + "ssm_in.gate"),
    Row("x", "linear", "channels hidden", MIXER + "in_proj.x", GGUF + "ssm_in.x"),
    Row("convolution", "convolution", "channels taps", MIXER + "conv1d.weight", GGUF + "ssm_conv1d.weight"),
    Row("convolution_bias", "bias", "channels", MIXER + "conv1d.bias", GGUF + "ssm_conv1d.bias"),
    Row("dt_low", "linear", "rank channels", MIXER + "x_proj.dt", GGUF + "ssm_x.dt"),
    Row("dt", "linear", "channels rank", MIXER + "dt_proj.weight", GGUF + "ssm_dt.weight"),
    Row("dt_bias", "bias", "channels", MIXER + "dt_proj.bias", GGUF + "ssm_dt.bias"),
    Row("B", "linear", "states channels", MIXER + "x_proj.B", GGUF + "ssm_x.B"),
    Row("C", "linear", "states channels", MIXER + "x_proj.C", GGUF + "ssm_x.C"),
    Row("D", "D", "channels", MIXER + "D", GGUF + "ssm_d"),
    Row("out", "linear", "hidden channels", MIXER + "out_proj.weight", GGUF + "ssm_out.weight"),
)
# GGUF holds A itself, -exp(A_log).
A_LOG = Row("A_log", "A", "channels states", MIXER + "A_log", "")
A = Row("A", "A", "channels states", "", GGUF + "ssm_a")


def parameters(config: MambaConfig, checkpoint: Checkpoint) -> list[Parameter]:
    """Every parameter, in the order a forward pass meets them."""
    return match(
        WHOLE,
        (*LAYER, A if checkpoint.format == "gguf" else A_LOG),
        checkpoint,
        layers=config.num_hidden_layers,
        sizes=config.sizes(),
        tied=config.tie_word_embeddings,
        frequencies=lambda: np.empty(0),
        unfolded=unfold(checkpoint.tensors, config),
    )


def unfold(tensors: Mapping[str, Tensor], config: MambaConfig) -> dict[str, Source]:
    """Tensors that hold several parameters under a name for each, and the convolution without its axis of length 1.

    One of another shape than the configuration says keeps its name, so that `match` finds it left over.
    """
    channels, rank, states = config.intermediate_size, config.time_step_rank, config.state_size
    parts = {
        "in": (2 * channels, (("x", 0, channels), ("gate", channels, 2 * channels))),
        "x": (
            rank + 2 * states,
            (("dt", 0, rank), ("B", rank, rank + states), ("C", rank + states, rank + 2 * states)),
        ),
    }
    result: dict[str, Source] = {}
    for name, tensor in tensors.items():
        several = re.fullmatch(r"(.*\.(?:mixer\.|ssm_)(in|x)(?:_proj)?)\.weight", name)
        if several is not None and tensor.shape[0] == parts[several[2]][0]:
            for part, first, last in parts[several[2]][1]:
                result[f"{several[1]}.{part}"] = Plain(tensor.rows(first, last))
        elif name.endswith("conv1d.weight") and tensor.shape == (channels, 1, config.conv_kernel):
            result[name] = Plain(replace(tensor, shape=(channels, config.conv_kernel)))
        else:
            result[name] = Plain(tensor)
    return result
