"""DeepSeek-V3, written the way it is explained at a whiteboard. DeepSeek-AI, arXiv:2412.19437 and arXiv:2405.04434.

Of every token only one short vector is cached, the latent, from which all heads would make their keys and values.
For most tokens nobody makes them: what turns latents into keys is applied to the queries instead, and what turns them
into values to what the heads bring back. For the beginning of a long prompt it is quicker to make them
(`attend_expanded`; docs/decisions/0012). `ops` computes, `layer` holds one layer's weights, `cache` the latents so far,
`tap` may look at or replace any named value. x is the residual stream, (tokens, hidden).
"""

from dataclasses import dataclass
from typing import Any

from ouvert.arithmetic import Experts, Rope, Tap
from ouvert.models.assembling import assembled, one_by_one
from ouvert.models.deepseek_v3.config import DeepseekV3Config
from ouvert.models.operations import Batch, Operations, RunLayer, Value, Watch, Weight
from ouvert.models.showing import mix_experts, show_attention


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    attention_norm: Weight  # (hidden,)
    query_low: Weight | None  # (query_rank, hidden); None: queries straight from x
    query_norm: Weight | None  # (query_rank,)
    query_nope: Weight  # (heads * nope, query_rank or hidden)
    query_rope: Weight  # (heads * rope, query_rank or hidden)
    latent: Weight  # (latent, hidden)
    latent_norm: Weight  # (latent,)
    key_rope: Weight  # (rope, hidden)
    key: Weight  # (heads, latent, nope): the query in latent space
    value: Weight  # (heads, value, latent): from what it found there to a head's answer
    o: Weight  # (hidden, heads * value)
    mlp_norm: Weight  # (hidden,)
    gate: Weight  # (inner, hidden): of the layer itself, or of the experts that all tokens share
    up: Weight
    down: Weight  # (hidden, inner)
    router: Weight | None  # (experts, hidden)
    correction: Weight | None  # (experts,); None: the softmax of scores, as they are
    experts: Experts | None  # None in the first layers


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    embedding: Weight  # (vocabulary, hidden)
    layers: tuple[Layer, ...]
    norm: Weight  # (hidden,)
    unembedding: Weight  # (vocabulary, hidden)
    rope: Rope


NO_TAP = Tap()

# Of the norms within attention, whatever the configuration says of the others: modeling_deepseek_v3.py.
LATENT_EPS = 1e-6


def forward(
    config: DeepseekV3Config, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP
) -> Value:
    """Logits of the wanted tokens, (wanted, vocabulary)."""
    x = tap("embedding", ops.embed(batch.ids, parameters.embedding))
    for run_layer in layers(config, parameters, batch, ops, tap):
        x = run_layer(x)
    x = tap("norm", ops.rms_norm(ops.select(x, batch.wanted), parameters.norm, config.rms_norm_eps))
    return tap("logits", ops.linear(x, parameters.unembedding))


def layers(
    config: DeepseekV3Config, parameters: Parameters, batch: Batch, ops: Operations, tap: Watch = NO_TAP
) -> list[RunLayer]:
    """The layers one by one: each maps the residual stream x, (tokens, hidden), to the next, of the same shape.

    A call appends the batch's tokens to that layer's cache, so each is called at most once for a batch.
    """
    return one_by_one(decoder_layer, parameters.layers, tap, config=config, rope=parameters.rope, batch=batch, ops=ops)


def decoder_layer(
    x: Value, layer: Layer, n: int, config: DeepseekV3Config, rope: Rope, batch: Batch, ops: Operations, tap: Watch
) -> Value:
    """x (tokens, hidden), the residual stream -> the same after layer n."""
    normed = ops.rms_norm(x, layer.attention_norm, config.rms_norm_eps)
    x = x + tap("attention.out", attention(normed, layer, n, config, rope, batch, ops, tap))
    normed = ops.rms_norm(x, layer.mlp_norm, config.rms_norm_eps)
    if layer.experts is not None:
        x = x + tap("experts.out", experts(normed, layer, layer.experts, config, ops, tap))
    return tap("out", x + tap("mlp.out", mlp(normed, layer, ops, tap)))


def attention(
    x: Value, layer: Layer, n: int, config: DeepseekV3Config, rope: Rope, batch: Batch, ops: Operations, tap: Watch
) -> Value:
    """Latent attention. A score is that of the latents plus that of the part which knows positions."""
    heads, width = config.num_attention_heads, config.latent_width
    queries, cache, scale = x, batch.caches[n], config.attention_scale
    if layer.query_low is not None:
        queries = ops.rms_norm(ops.linear(x, layer.query_low), layer.query_norm, LATENT_EPS)
    plain = ops.linear(queries, layer.query_nope)  # (tokens, heads * nope)
    sought = ops.linear_heads(plain, layer.key)  # (tokens, heads * latent)
    turning = ops.heads(ops.linear(queries, layer.query_rope), config.qk_rope_head_dim)  # (tokens, heads, rope)
    turning = ops.rotate(turning, batch.positions, rope)
    latent = ops.rms_norm(ops.linear(x, layer.latent), layer.latent_norm, LATENT_EPS)  # (tokens, latent)
    position = ops.rotate(ops.heads(ops.linear(x, layer.key_rope), config.qk_rope_head_dim), batch.positions, rope)
    q = tap("attention.q", ops.heads(ops.join(sought, turning, heads), width))  # (tokens, heads, latent + rope)
    cached = tap("attention.latent", ops.join(latent, position, 1))  # (tokens, latent + rope)
    found = ops.attend_latent(q, cached, cache, scale=scale)  # (tokens, heads * latent)
    show_attention(q, cache, ops, tap, scale=scale)
    mixed = ops.linear_heads(found, layer.value)  # (tokens, heads * value)
    mixed = ops.attend_expanded(mixed, plain, turning, layer.key, layer.value, cache, scale=scale)
    return ops.linear(tap("attention.mixed", mixed), layer.o)


def experts(x: Value, layer: Layer, experts_: Experts, config: DeepseekV3Config, ops: Operations, tap: Watch) -> Value:
    """Each token takes its top_k experts, of DeepSeek-V3 among those of its best groups, and mixes their answers."""
    scores = tap("experts.scores", ops.linear(x, layer.router))  # (tokens, experts)
    if layer.correction is None:
        chosen, expert_weights = ops.route_top_k(scores, config.num_experts_per_tok, normalised=config.norm_topk_prob)
    else:
        chosen, expert_weights = ops.route_top_k_of_groups(
            scores,
            layer.correction,
            config.num_experts_per_tok,
            config.n_group,
            config.topk_group,
            normalised=config.norm_topk_prob,
            factor=config.routed_scaling_factor,
        )
    chosen, expert_weights = tap("experts.chosen", chosen), tap("experts.weights", expert_weights)
    return mix_experts(x, experts_, chosen, expert_weights, ops, tap)


def mlp(x: Value, layer: Layer, ops: Operations, tap: Watch) -> Value:
    """(tokens, hidden) -> (tokens, hidden)."""
    inner = ops.swiglu(ops.linear(x, layer.gate), ops.linear(x, layer.up))  # (tokens, inner)
    return ops.linear(tap("mlp.inner", inner), layer.down)


def assemble(config: DeepseekV3Config, placed: dict[str, Any]) -> Parameters:
    """The placed weights, by our names, in the shape the graph wants."""

    def experts_of(n: int) -> Experts | None:
        if not config.has_experts(n):
            return None
        return Experts(**{name: placed[f"layers.{n}.experts.{name}"] for name in ("gate", "up", "down")})

    return assembled(Parameters, Layer, config, placed, experts_of)
