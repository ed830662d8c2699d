"""The gpt-oss family, written the way it is explained at a whiteboard.

Every other layer sees only a window; every head has a sink, a score that takes its share of attention and gives
nothing for it; the feed-forward layer is a mixture of experts. `ops` computes (NumPy, C++, torch), `layer` holds one
layer's weights, `cache` what a layer has of each sequence, `tap` may look at or replace any named value. x is the
residual stream, (tokens, hidden). OpenAI, gpt-oss-120b & gpt-oss-20b Model Card, arXiv:2508.10925.
"""

from dataclasses import dataclass
from typing import Any

from ouvert.arithmetic import Experts, Rope, Tap
from ouvert.models.assembling import assembled, one_by_one
from ouvert.models.gpt_oss.config import GptOssConfig
from ouvert.models.operations import Batch, Operations, RunLayer, Value, Watch, Weight
from ouvert.models.showing import mix_experts, show_attention


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    attention_norm: Weight  # (hidden,)
    q: Weight  # (q_heads * head_dim, hidden)
    q_bias: Weight
    k: Weight  # (kv_heads * head_dim, hidden)
    k_bias: Weight
    v: Weight  # (kv_heads * head_dim, hidden)
    v_bias: Weight
    sinks: Weight  # (q_heads,)
    o: Weight  # (hidden, q_heads * head_dim)
    o_bias: Weight
    experts_norm: Weight  # (hidden,)
    router: Weight  # (experts, hidden)
    router_bias: Weight
    experts: Experts  # gate and up (experts, inner, hidden), down (experts, hidden, inner), and their biases


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    embedding: Weight  # (vocabulary, hidden)
    layers: tuple[Layer, ...]
    norm: Weight  # (hidden,)
    unembedding: Weight  # (vocabulary, hidden)
    rope: Rope


NO_TAP = Tap()


def forward(config: GptOssConfig, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP) -> Value:
    """Logits of the wanted tokens, (wanted, vocabulary)."""
    x = tap("embedding", ops.embed(batch.ids, parameters.embedding))
    for run_layer in layers(config, parameters, batch, ops, tap):
        x = run_layer(x)
    x = tap("norm", ops.rms_norm(ops.select(x, batch.wanted), parameters.norm, config.rms_norm_eps))
    return tap("logits", ops.linear(x, parameters.unembedding))


def layers(
    config: GptOssConfig, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP
) -> list[RunLayer]:
    """The layers one by one: each maps the residual stream x, (tokens, hidden), to the next, of the same shape.

    A call appends the batch's tokens to that layer's cache, so each is called at most once for a batch.
    """
    return one_by_one(decoder_layer, parameters.layers, tap, config=config, rope=parameters.rope, batch=batch, ops=ops)


def decoder_layer(
    x: Value, layer: Layer, n: int, config: GptOssConfig, rope: Rope, batch: Batch, ops: Operations, tap: Watch
) -> Value:
    """x (tokens, hidden), the residual stream -> the same after layer n."""
    normed = ops.rms_norm(x, layer.attention_norm, config.rms_norm_eps)
    x = x + tap("attention.out", attention(normed, layer, n, config, rope, batch, ops, tap))
    normed = ops.rms_norm(x, layer.experts_norm, config.rms_norm_eps)
    x = x + tap("experts.out", experts(normed, layer, config, ops, tap))
    return tap("out", x)


def attention(
    x: Value, layer: Layer, n: int, config: GptOssConfig, rope: Rope, batch: Batch, ops: Operations, tap: Watch
) -> Value:
    """Grouped-query attention; `attend` appends k and v to the cache and sees as far back as the window says."""
    q = ops.heads(ops.linear(x, layer.q, layer.q_bias), config.head_dim)  # (tokens, q_heads, head_dim)
    k = ops.heads(ops.linear(x, layer.k, layer.k_bias), config.head_dim)  # (tokens, kv_heads, head_dim)
    v = ops.heads(ops.linear(x, layer.v, layer.v_bias), config.head_dim)
    q, k, v = tap("attention.q", q), tap("attention.k", k), tap("attention.v", v)
    q, k = ops.rotate(q, batch.positions, rope), ops.rotate(k, batch.positions, rope)
    cache, scale, window = batch.caches[n], config.head_dim**-0.5, config.windows[n]
    mixed = ops.attend(q, k, v, cache, scale=scale, window=window, sinks=layer.sinks)
    show_attention(q, cache, ops, tap, scale=scale, window=window, sinks=layer.sinks)
    return ops.linear(tap("attention.mixed", mixed), layer.o, layer.o_bias)  # mixed: (tokens, q_heads * head_dim)


def experts(x: Value, layer: Layer, config: GptOssConfig, ops: Operations, tap: Watch) -> Value:
    """The router scores every expert; each token takes its top_k and mixes their answers."""
    scores = tap("experts.scores", ops.linear(x, layer.router, layer.router_bias))  # (tokens, experts)
    chosen, expert_weights = ops.route_top_k(scores, config.num_experts_per_tok)  # (tokens, top_k) each
    chosen, expert_weights = tap("experts.chosen", chosen), tap("experts.weights", expert_weights)
    return mix_experts(x, layer.experts, chosen, expert_weights, ops, tap)


OF_EXPERTS = ("gate", "up", "down", "gate_bias", "up_bias", "down_bias")


def assemble(config: GptOssConfig, placed: dict[str, Any]) -> Parameters:
    """The placed weights, by our names, in the shape the graph wants."""

    def experts_of(n: int) -> Experts:
        return Experts(
            **{name: placed[f"layers.{n}.{name}"] for name in OF_EXPERTS},
            alpha=config.swiglu_alpha,
            limit=config.swiglu_limit,
        )

    return assembled(Parameters, Layer, config, placed, experts_of)
