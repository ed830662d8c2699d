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
# Parts of one tensor in files, apart here: x and gate of what goes in, step, b and c of what the channels tell.
LAYER = (
    Row("mixer_norm", "norm", "hidden", HF + "norm.weight", GGUF + "attn_norm.weight"),
    Row("gate", "linear", "channels hidden", MIXER + "in_proj.gate", GGUF + "ssm_in.gate"),
    Row("x", "linear", "channels hidden", MIXER + "in_proj.x", GGUF + "ssm_in.x"),
    Row("convolution", "convolution", "channels taps", MIXER + "conv1d.weight", GGUF + "ssm_conv1d.weight"),
    Row("convolution_bias", "bias", "channels", MIXER + "conv1d.bias", GGUF + "ssm_conv1d.bias"),
    Row("step_low", "linear", "rank channels", MIXER + "x_proj.step", GGUF + "ssm_x.step"),
    Row("step", "linear", "channels rank", MIXER + "dt_proj.weight", GGUF + "ssm_dt.weight"),
    Row("step_bias", "bias", "channels", MIXER + "dt_proj.bias", GGUF + "ssm_dt.bias"),
    Row("b", "linear", "states channels", MIXER + "x_proj.b", GGUF + "ssm_x.b"),
    Row("c", "linear", "states channels", MIXER + "x_proj.c", GGUF + "ssm_x.c"),
    Row("skip", "skip", "channels", MIXER + "D", GGUF + "ssm_d"),
    Row("out", "linear", "hidden channels", MIXER + "out_proj.weight", GGUF + "ssm_out.weight"),
)
# -exp(log_decay) in GGUF.
LOG_DECAY = Row("log_decay", "decay", "channels states", MIXER + "A_log", "")
DECAY = Row("decay", "decay", "channels states", "", GGUF + "ssm_a")


def parameters(config: MambaConfig, checkpoint: Checkpoint) -> list[Parameter]:
    """Every parameter, in the order a forward pass meets them."""
    return match(
        WHOLE,
        (*LAYER, DECAY if checkpoint.format == "gguf" else LOG_DECAY),
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
            (("step", 0, rank), ("b", rank, rank + states), ("c", rank + states, rank + 2 * states)),
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
