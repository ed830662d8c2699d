"""The llama family, written the way it is explained at a whiteboard.

`ops` computes (NumPy, C++, torch), `layer` holds one layer's weights, `cache` what a layer has of each sequence,
`tap` may look at or replace any named value. x is the residual stream, (tokens, hidden). Touvron et al.,
arXiv:2302.13971 and arXiv:2307.09288; Jiang et al., Mistral 7B, arXiv:2310.06825.
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
    k: Weight  # (kv_heads * head_dim, hidden)
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
    unembedding: Weight  # (vocabulary, hidden)
    rope: Rope


NO_TAP = Tap()


def forward(config: DecoderConfig, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP) -> Value:
    """Logits of the wanted tokens, (wanted, vocabulary)."""
    x = tap("embedding", ops.embed(batch.ids, parameters.embedding))
    for run_layer in layers(config, parameters, batch, ops, tap):
        x = run_layer(x)
    x = tap("norm", ops.rms_norm(ops.select(x, batch.wanted), parameters.norm, config.rms_norm_eps))
    return tap("logits", ops.linear(x, parameters.unembedding))


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
    q = tap("attention.q", ops.heads(ops.linear(x, layer.q), config.head_dim))  # (tokens, q_heads, head_dim)
    k = tap("attention.k", ops.heads(ops.linear(x, layer.k), config.head_dim))  # (tokens, kv_heads, head_dim)
    v = tap("attention.v", ops.heads(ops.linear(x, layer.v), config.head_dim))
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
