"""Mamba, written the way it is explained at a whiteboard. Gu and Dao, arXiv:2312.00752.

`ops` computes, `layer` holds one layer's weights, `cache` its state after all tokens so far, `tap` may look at or
replace any named value. x is the residual stream, (tokens, hidden).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ouvert.arithmetic import Tap
from ouvert.models.assembling import one_by_one
from ouvert.models.mamba.config import MambaConfig
from ouvert.models.operations import Batch, Operations, RunLayer, Value, Watch, Weight


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    mixer_norm: Weight  # (hidden,)
    x: Weight  # (channels, hidden)
    gate: Weight  # (channels, hidden)
    convolution: Weight  # (channels, taps)
    convolution_bias: Weight  # (channels,)
    dt_low: Weight  # (rank, channels)
    B: Weight  # (states, channels)
    C: Weight  # (states, channels)
    dt: Weight  # (channels, rank)
    dt_bias: Weight  # (channels,)
    A: Weight  # (channels, states), less than 0
    D: Weight  # (channels,)
    out: Weight  # (hidden, channels)


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    embedding: Weight  # (vocabulary, hidden)
    layers: tuple[Layer, ...]
    norm: Weight  # (hidden,)
    unembedding: Weight  # (vocabulary, hidden)


NO_TAP = Tap()


def forward(config: MambaConfig, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP) -> Value:
    """Logits of the wanted tokens, (wanted, vocabulary)."""
    x = tap("embedding", ops.embed(batch.ids, parameters.embedding))
    for run_layer in layers(config, parameters, batch, ops, tap):
        x = run_layer(x)
    x = tap("norm", ops.rms_norm(ops.select(x, batch.wanted), parameters.norm, config.layer_norm_epsilon))
    return tap("logits", ops.linear(x, parameters.unembedding))


def layers(
    config: MambaConfig, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP
) -> list[RunLayer]:
    """The layers one by one: each maps the residual stream x, (tokens, hidden), to the next, of the same shape.

    A call appends the batch's tokens to that layer's cache, so each is called at most once for a batch.
    """
    return one_by_one(mamba_layer, parameters.layers, tap, config=config, batch=batch, ops=ops)


def mamba_layer(
    x: Value, layer: Layer, n: int, config: MambaConfig, batch: Batch, ops: Operations, tap: Watch
) -> Value:
    """x (tokens, hidden), the residual stream -> the same after layer n."""
    normed = ops.rms_norm(x, layer.mixer_norm, config.layer_norm_epsilon)
    return tap("out", x + tap("mixer.out", mixer(normed, layer, config, batch.caches[n], ops, tap)))


def mixer(x: Value, layer: Layer, config: MambaConfig, cache: Any, ops: Operations, tap: Watch) -> Value:
    """Each channel looks at its last few inputs, then at its state, to which the inputs say what to keep."""
    gate = ops.linear(x, layer.gate)  # (tokens, channels)
    x = tap("mixer.convolved", ops.convolve(ops.linear(x, layer.x), layer.convolution, layer.convolution_bias, cache))
    dt, B, C = ops.linear(x, layer.dt_low), ops.linear(x, layer.B), ops.linear(x, layer.C)
    if config.mixer_rms_eps is not None:  # FalconMamba (arXiv:2410.05355, section 2.2)
        ones = np.ones(config.time_step_rank, np.float32), np.ones(config.state_size, np.float32)
        dt = ops.rms_norm(dt, ones[0], config.mixer_rms_eps)
        B, C = (ops.rms_norm(each, ones[1], config.mixer_rms_eps) for each in (B, C))
    dt = ops.linear(dt, layer.dt, layer.dt_bias)  # (tokens, channels)
    B, C = tap("mixer.B", B), tap("mixer.C", C)  # (tokens, states)
    dt = tap("mixer.dt", dt)
    y = ops.selective_scan(x, dt, layer.A, B, C, layer.D, cache)  # (tokens, channels)
    if tap.wants("mixer.state_norm"):
        tap("mixer.state_norm", ops.selective_norms(x, dt, layer.A, B, C, layer.D, cache))
    return ops.linear(tap("mixer.inner", ops.swiglu(gate, tap("mixer.scanned", y))), layer.out)


def assemble(config: MambaConfig, placed: dict[str, Any]) -> Parameters:
    """The placed weights, by our names, in the shape the graph wants. Hugging Face stores the logarithm of -A."""

    def layer(n: int) -> Layer:
        of_layer = f"layers.{n}."
        weights = {name: placed.get(of_layer + name) for name in Layer.__dataclass_fields__}
        if weights["A"] is None:
            weights["A"] = -np.exp(placed[of_layer + "A_log"])
        return Layer(**weights)

    return Parameters(
        embedding=placed["embedding"],
        layers=tuple(layer(n) for n in range(config.num_hidden_layers)),
        norm=placed["norm"],
        unembedding=placed["unembedding"],
    )
