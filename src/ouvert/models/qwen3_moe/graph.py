"""Qwen3-MoE, written the way it is explained at a whiteboard: Qwen3 with experts for a feed-forward layer.

Each head of q and k is normed by itself. Some layers may have a plain feed-forward layer. `ops` computes (NumPy, C++,
torch), `layer` holds one layer's weights, `cache` what a layer has of each sequence, `tap` may look at or replace any
named value. x is the residual stream, (tokens, hidden). Yang et al., Qwen3 Technical Report, arXiv:2505.09388.
"""

from dataclasses import dataclass
from typing import Any

from ouvert.arithmetic import Experts, Rope, Tap
from ouvert.models.assembling import assembled, one_by_one
from ouvert.models.operations import Batch, Operations, RunLayer, Value, Watch, Weight
from ouvert.models.qwen3_moe.config import Qwen3MoeConfig
from ouvert.models.showing import mix_experts, show_attention


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
    gate: Weight | None  # (inner, hidden); None in a layer with experts
    up: Weight | None  # (inner, hidden)
    down: Weight | None  # (hidden, inner)
    router: Weight | None  # (experts, hidden); None in a layer without experts
    experts: Experts | None  # gate and up (experts, expert_inner, hidden), down (experts, hidden, expert_inner)


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    embedding: Weight  # (vocabulary, hidden)
    layers: tuple[Layer, ...]
    norm: Weight  # (hidden,)
    unembedding: Weight  # (vocabulary, hidden)
    rope: Rope


NO_TAP = Tap()


def forward(
    config: Qwen3MoeConfig, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP
) -> Value:
    """Logits of the wanted tokens, (wanted, vocabulary)."""
    x = tap("embedding", ops.embed(batch.ids, parameters.embedding))
    for run_layer in layers(config, parameters, batch, ops, tap):
        x = run_layer(x)
    x = tap("norm", ops.rms_norm(ops.select(x, batch.wanted), parameters.norm, config.rms_norm_eps))
    return tap("logits", ops.linear(x, parameters.unembedding))


def layers(
    config: Qwen3MoeConfig, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP
) -> list[RunLayer]:
    """The layers one by one: each maps the residual stream x, (tokens, hidden), to the next, of the same shape.

    A call appends the batch's tokens to that layer's cache, so each is called at most once for a batch.
    """
    return one_by_one(decoder_layer, parameters.layers, tap, config=config, rope=parameters.rope, batch=batch, ops=ops)


def decoder_layer(
    x: Value, layer: Layer, n: int, config: Qwen3MoeConfig, rope: Rope, batch: Batch, ops: Operations, tap: Watch
) -> Value:
    """x (tokens, hidden), the residual stream -> the same after layer n."""
    normed = ops.rms_norm(x, layer.attention_norm, config.rms_norm_eps)
    x = x + tap("attention.out", attention(normed, layer, n, config, rope, batch, ops, tap))
    normed = ops.rms_norm(x, layer.mlp_norm, config.rms_norm_eps)
    if layer.experts is not None:
        x = x + tap("experts.out", experts(normed, layer, layer.experts, config, ops, tap))
    else:
        x = x + tap("mlp.out", mlp(normed, layer, ops, tap))
    return tap("out", x)


def attention(
    x: Value, layer: Layer, n: int, config: Qwen3MoeConfig, rope: Rope, batch: Batch, ops: Operations, tap: Watch
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


def experts(x: Value, layer: Layer, experts_: Experts, config: Qwen3MoeConfig, ops: Operations, tap: Watch) -> Value:
    """The router scores every expert; each token takes its top_k and mixes their answers.

    Their weights are the softmax over all scores; only if `normalised` do they add up to 1.
    """
    scores = tap("experts.scores", ops.linear(x, layer.router))  # (tokens, experts)
    chosen, expert_weights = ops.route_top_k(scores, config.num_experts_per_tok, normalised=config.norm_topk_prob)
    chosen, expert_weights = tap("experts.chosen", chosen), tap("experts.weights", expert_weights)  # (tokens, top_k)
    return mix_experts(x, experts_, chosen, expert_weights, ops, tap)


def mlp(x: Value, layer: Layer, ops: Operations, tap: Watch) -> Value:
    """(tokens, hidden) -> (tokens, hidden)."""
    inner = ops.swiglu(ops.linear(x, layer.gate), ops.linear(x, layer.up))  # (tokens, inner)
    return ops.linear(tap("mlp.inner", inner), layer.down)


def assemble(config: Qwen3MoeConfig, placed: dict[str, Any]) -> Parameters:
    """The placed weights, by our names, in the shape the graph wants."""

    def experts_of(n: int) -> Experts | None:
        if not config.has_experts(n):
            return None
        return Experts(**{name: placed[f"layers.{n}.experts.{name}"] for name in ("gate", "up", "down")})

    return assembled(Parameters, Layer, config, placed, experts_of)
