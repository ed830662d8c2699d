"""Shapes of state space models for random_checkpoints.py: their tensors, and what their GGUF files say.

Encodings are those of the files people download (Q4_K_M): large matrices Q4_K, the head Q6_K, small ones Q8_0 or F32.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gguf

# Shapes as the models' own config.json state them.
STATE_SPACE_SHAPES = {
    "codestral-mamba-7b": {
        "architecture": "mamba2",
        "hidden": 4096,
        "channels": 8192,
        "heads": 128,
        "groups": 8,
        "states": 128,
        "layers": 64,
        "vocabulary": 32768,
        "tied": False,
    },
    "mamba-2.8b": {
        "architecture": "mamba",
        "hidden": 2560,
        "channels": 5120,
        "rank": 160,
        "states": 16,
        "layers": 64,
        "vocabulary": 50280,
        "tied": True,
    },
}
TAPS = 4

Tensor = tuple[str, tuple[int, ...], str]  # name, shape (row-major), encoding


def state_space_tensors(shape: dict, layers: int) -> Iterator[Tensor]:
    hidden, vocabulary = shape["hidden"], shape["vocabulary"]
    yield "token_embd.weight", (vocabulary, hidden), "Q6_K" if shape["tied"] else "Q4_K"
    yield "output_norm.weight", (hidden,), "F32"
    if not shape["tied"]:
        yield "output.weight", (vocabulary, hidden), "Q6_K"
    of_layer = mamba2_layer if shape["architecture"] == "mamba2" else mamba_layer
    for n in range(layers):
        yield f"blk.{n}.attn_norm.weight", (hidden,), "F32"
        yield f"blk.{n}.ssm_out.weight", (hidden, shape["channels"]), "Q4_K"
        for name, dims, encoding in of_layer(shape):
            yield f"blk.{n}.{name}", dims, encoding


def mamba_layer(shape: dict) -> Iterator[Tensor]:
    channels, rank, states = shape["channels"], shape["rank"], shape["states"]
    yield "ssm_in.weight", (2 * channels, shape["hidden"]), "Q4_K"
    yield "ssm_conv1d.weight", (channels, TAPS), "F32"
    yield "ssm_conv1d.bias", (channels,), "F32"
    yield "ssm_x.weight", (rank + 2 * states, channels), "Q4_K"
    yield "ssm_dt.weight", (channels, rank), "Q8_0"
    yield "ssm_dt.bias", (channels,), "F32"
    yield "ssm_a", (channels, states), "F32"
    yield "ssm_d", (channels,), "F32"


def mamba2_layer(shape: dict) -> Iterator[Tensor]:
    channels, heads, groups = shape["channels"], shape["heads"], shape["groups"]
    convolved = channels + 2 * groups * shape["states"]
    yield "ssm_in.weight", (channels + convolved + heads, shape["hidden"]), "Q4_K"
    yield "ssm_conv1d.weight", (convolved, TAPS), "F32"
    yield "ssm_conv1d.bias", (convolved,), "F32"
    yield "ssm_dt.bias", (heads,), "F32"
    yield "ssm_a", (heads, 1), "F32"
    yield "ssm_d", (heads, 1), "F32"
    yield "ssm_norm.weight", (groups, channels // groups), "F32"


def describe_state_space(writer: "gguf.GGUFWriter", shape: dict, layers: int) -> None:
    writer.add_context_length(2**20)
    writer.add_embedding_length(shape["hidden"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape["vocabulary"])
    writer.add_ssm_conv_kernel(TAPS)
    writer.add_ssm_inner_size(shape["channels"])
    writer.add_ssm_state_size(shape["states"])
    writer.add_ssm_time_step_rank(shape.get("rank", shape.get("heads")))
    if "groups" in shape:
        writer.add_ssm_group_count(shape["groups"])
