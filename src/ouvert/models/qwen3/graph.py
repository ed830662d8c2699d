"""The qwen3 family, written the way it is explained at a whiteboard. Each head of q and k is normed by itself.

`ops` computes (NumPy, C++, torch), `layer` holds one layer's weights, `cache` what a layer has of each sequence,
`tap` may look at or replace any named value. x is the residual stream, (tokens, hidden). Yang et al.,
Qwen3 Technical Report, arXiv:2505.09388.
"""

from dataclasses import dataclass
from typing import Any

from ouvert.arithmetic import Rope, Tap
from ouvert.models.assembling import assembled, one_by_one
from ouvert.models.configuration import DecoderConfig
from ouvert.models.operations import Batch, Operations, RunLayer, Value, Watch, Weight
from ouvert.models.showing import show_attention


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    attention_norm: Weight  # (hidden,)
    q: Weight  # (q_heads * head_dim, hidden)
    q_norm: Weight  # (head_dim,)
    k: Weight  # (kv_heads * head_dim, hidden)
    k_norm: Weight  # (head_dim,)
    v: Weight  # (kv_heads * head_dim, hidden)
    o: Weight  # (hidden, q_heads * head_dim)
    mlp_norm: Weight  # (hidden,)
    gate: Weight  # (inner, hidden)
    up: Weight  # (inner, hidden)
    down: Weight  # (hidden, inner)


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    embedding: Weight  # (vocabulary, hidden)
    layers: tuple[Layer, ...]
    norm: Weight  # (hidden,)
    unembedding: Weight  # (vocabulary, hidden); an embedding model has none
    rope: Rope


NO_TAP = Tap()


def forward(config: DecoderConfig, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP) -> Value:
    """Logits of the wanted tokens, (wanted, vocabulary)."""
    return tap("logits", ops.linear(embed(config, parameters, batch, ops, tap), parameters.unembedding))


def embed(config: DecoderConfig, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP) -> Value:
    """What the wanted tokens and all before them have come to, (wanted, hidden): all there is of an embedding model."""
    x = tap("embedding", ops.embed(batch.ids, parameters.embedding))
    for run_layer in layers(config, parameters, batch, ops, tap):
        x = run_layer(x)
    return tap("norm", ops.rms_norm(ops.select(x, batch.wanted), parameters.norm, config.rms_norm_eps))


def layers(
    config: DecoderConfig, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP
) -> list[RunLayer]:
    """The layers one by one: each maps the residual stream x, (tokens, hidden), to the next, of the same shape.

    A call appends the batch's tokens to that layer's cache, so each is called at most once for a batch.
    """
    return one_by_one(decoder_layer, parameters.layers, tap, config=config, rope=parameters.rope, batch=batch, ops=ops)


def decoder_layer(
    x: Value, layer: Layer, n: int, config: DecoderConfig, rope: Rope, batch: Batch, ops: Operations, tap: Watch
) -> Value:
    """x (tokens, hidden), the residual stream -> the same after layer n."""
    normed = ops.rms_norm(x, layer.attention_norm, config.rms_norm_eps)
    x = x + tap("attention.out", attention(normed, layer, n, config, rope, batch, ops, tap))
    normed = ops.rms_norm(x, layer.mlp_norm, config.rms_norm_eps)
    x = x + tap("mlp.out", mlp(normed, layer, ops, tap))
    return tap("out", x)


def attention(
    x: Value, layer: Layer, n: int, config: DecoderConfig, rope: Rope, batch: Batch, ops: Operations, tap: Watch
) -> Value:
    """Grouped-query attention; `attend` appends k and v to the cache and sees as far back as the window says."""
    q = ops.heads(ops.linear(x, layer.q), config.head_dim)  # (tokens, q_heads, head_dim)
    k = ops.heads(ops.linear(x, layer.k), config.head_dim)  # (tokens, kv_heads, head_dim)
    v = tap("attention.v", ops.heads(ops.linear(x, layer.v), config.head_dim))
    q = tap("attention.q", ops.rms_norm(q, layer.q_norm, config.rms_norm_eps))
    k = tap("attention.k", ops.rms_norm(k, layer.k_norm, config.rms_norm_eps))
    q, k = ops.rotate(q, batch.positions, rope), ops.rotate(k, batch.positions, rope)
    cache, scale, window = batch.caches[n], config.head_dim**-0.5, config.windows[n]
    mixed = ops.attend(q, k, v, cache, scale=scale, window=window)
    show_attention(q, cache, ops, tap, scale=scale, window=window)
    return ops.linear(tap("attention.mixed", mixed), layer.o)  # mixed: (tokens, q_heads * head_dim)


def mlp(x: Value, layer: Layer, ops: Operations, tap: Watch) -> Value:
    """(tokens, hidden) -> (tokens, hidden)."""
    inner = ops.swiglu(ops.linear(x, layer.gate), ops.linear(x, layer.up))  # (tokens, inner)
    return ops.linear(tap("mlp.inner", inner), layer.down)


def assemble(config: DecoderConfig, placed: dict[str, Any]) -> Parameters:
    """The placed weights, by our names, in the shape the graph wants."""
    return assembled(Parameters, Layer, config, placed)
