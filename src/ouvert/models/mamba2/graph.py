"""Mamba-2, written the way it is explained at a whiteboard. Dao and Gu, arXiv:2405.21060, section 7.

`ops` computes, `layer` holds one layer's weights, `cache` its state after all tokens so far, `tap` may look at or
replace any named value. x is the residual stream, (tokens, hidden).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ouvert.arithmetic import Tap
from ouvert.models.assembling import one_by_one
from ouvert.models.mamba2.config import Mamba2Config
from ouvert.models.operations import Batch, Operations, RunLayer, Value, Watch, Weight


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Layer:
    mixer_norm: Weight  # (hidden,)
    gate: Weight  # (channels, hidden)
    gate_bias: Weight | None  # (channels,)
    xBC: Weight  # (convolved, hidden), where convolved is channels + 2 * groups * states
    xBC_bias: Weight | None  # (convolved,)
    dt: Weight  # (heads, hidden)
    dt_bias: Weight  # (heads,)
    convolution: Weight  # (convolved, taps)
    convolution_bias: Weight  # (convolved,)
    A: Weight  # (heads,), less than 0
    D: Weight  # (heads,)
    inner_norm: Weight  # (channels,)
    out: Weight  # (hidden, channels)
    out_bias: Weight | None  # (hidden,)


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    embedding: Weight  # (vocabulary, hidden)
    layers: tuple[Layer, ...]
    norm: Weight  # (hidden,)
    unembedding: Weight  # (vocabulary, hidden)


NO_TAP = Tap()


def forward(config: Mamba2Config, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP) -> Value:
    """Logits of the wanted tokens, (wanted, vocabulary)."""
    x = tap("embedding", ops.embed(batch.ids, parameters.embedding))
    for run_layer in layers(config, parameters, batch, ops, tap):
        x = run_layer(x)
    x = tap("norm", ops.rms_norm(ops.select(x, batch.wanted), parameters.norm, config.layer_norm_epsilon))
    return tap("logits", ops.linear(x, parameters.unembedding))


def layers(
    config: Mamba2Config, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP
) -> list[RunLayer]:
    """The layers one by one: each maps the residual stream x, (tokens, hidden), to the next, of the same shape.

    A call appends the batch's tokens to that layer's cache, so each is called at most once for a batch.
    """
    return one_by_one(mamba_layer, parameters.layers, tap, config=config, batch=batch, ops=ops)


def mamba_layer(
    x: Value, layer: Layer, n: int, config: Mamba2Config, batch: Batch, ops: Operations, tap: Watch
) -> Value:
    """x (tokens, hidden), the residual stream -> the same after layer n."""
    normed = ops.rms_norm(x, layer.mixer_norm, config.layer_norm_epsilon)
    return tap("out", x + tap("mixer.out", mixer(normed, layer, config, batch.caches[n], ops, tap)))


def mixer(x: Value, layer: Layer, config: Mamba2Config, cache: Any, ops: Operations, tap: Watch) -> Value:
    """All heads look at their last few inputs, then at their states; x, B, C and dt are made in one go."""
    gate = ops.linear(x, layer.gate, layer.gate_bias)  # (tokens, channels)
    xBC = ops.linear(x, layer.xBC, layer.xBC_bias)  # (tokens, convolved)
    dt = tap("mixer.dt", ops.linear(x, layer.dt, layer.dt_bias))  # (tokens, heads)
    xBC = tap("mixer.convolved", ops.convolve(xBC, layer.convolution, layer.convolution_bias, cache))
    low, high = config.time_step_limit
    limits = (low, np.inf if high is None else high)
    y = ops.ssd_scan(xBC, dt, layer.A, layer.D, cache, limits=limits)  # (tokens, channels)
    if tap.wants("mixer.state_norm"):
        tap("mixer.state_norm", ops.ssd_norms(xBC, dt, layer.A, layer.D, cache, limits=limits))
    inner = tap("mixer.inner", ops.swiglu(gate, tap("mixer.scanned", y)))
    normed = ops.rms_norm(inner, layer.inner_norm, config.layer_norm_epsilon, groups=config.n_groups)
    return ops.linear(tap("mixer.normed", normed), layer.out, layer.out_bias)


def assemble(config: Mamba2Config, placed: dict[str, Any]) -> Parameters:
    """The placed weights, by our names, in the shape the graph wants. Hugging Face stores the logarithm of -A, and
    with `use_bias` a second bias of dt."""

    def layer(n: int) -> Layer:
        weights = {name: placed.get(f"layers.{n}.{name}") for name in Layer.__dataclass_fields__}
        if weights["A"] is None:
            weights["A"] = -np.exp(placed[f"layers.{n}.A_log"])
        if config.use_bias:
            weights["dt_bias"] = weights["dt_bias"] + placed[f"layers.{n}.dt_second_bias"]
        if not config.use_conv_bias:
            weights["convolution_bias"] = np.zeros(config.convolved, np.float32)
        return Layer(**weights)

    return Parameters(
        embedding=placed["embedding"],
        layers=tuple(layer(n) for n in range(config.num_hidden_layers)),
        norm=placed["norm"],
        unembedding=placed["unembedding"],
    )
