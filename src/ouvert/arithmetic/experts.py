"""Mixtures of experts: a router scores them, each token takes its top_k and mixes their answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ouvert.arithmetic.attention import softmax
from ouvert.arithmetic.dense import Array, linear
from ouvert.arithmetic.gates import clamped_swiglu, sigmoid, swiglu


@dataclass(frozen=True, eq=False)
class Experts:
    """The feed-forward layers of all experts. Each weight is indexed by expert first: gate[e] is (inner, hidden).

    Weights may be anything that gives a matrix, or a `Carrier`, for `weight[e]`; biases are (experts, out). With
    `limit` the gate is gpt-oss's clamped SwiGLU, otherwise the plain one.
    """

    gate: Any  # [e] -> (inner, hidden)
    up: Any  # [e] -> (inner, hidden)
    down: Any  # [e] -> (hidden, inner)
    gate_bias: Any = None
    up_bias: Any = None
    down_bias: Any = None
    alpha: float = 1.0
    limit: float | None = None


def route_top_k(
    scores: Array, top_k: int, chosen: Array | None = None, *, normalised: bool = True
) -> tuple[Array, Array]:
    """The `top_k` best experts of each token, best first, and their weights.

    Weights are the softmax over the scores of these experts, or, if not `normalised`, their parts of the softmax over
    all scores, which add up to less than 1 (Yang et al., arXiv:2505.09388; norm_topk_prob in transformers).
    scores (tokens, experts) -> chosen int32 and expert_weights, (tokens, top_k) each. The lower index wins a tie. With
    `chosen` (kept of an earlier pass) nothing is selected: the weights are those of the given experts. Raises nothing.
    """
    if chosen is None:
        chosen = np.argsort(-scores, axis=-1, kind="stable")[:, :top_k].astype(np.int32)
    if not normalised:
        return chosen, np.take_along_axis(softmax(scores), chosen, axis=-1)
    return chosen, softmax(np.take_along_axis(scores, chosen, axis=-1))


def route_top_k_of_groups(
    scores: Array, correction: Array, top_k: int, groups: int, top_k_groups: int, *, normalised: bool, factor: float
) -> tuple[Array, Array]:
    """DeepSeek-V3's choice: the `top_k` best experts of each token among those of its best groups.

    Chosen by sigmoid(scores) + correction, best first, the lower index at a tie; a group counts for its two best
    experts (DeepSeek-AI, arXiv:2412.19437, 2.1.2). Weights are the uncorrected sigmoids, `normalised` to a sum of 1 or
    not, times factor. scores (tokens, experts), correction (experts,) -> chosen int32 and expert_weights, (tokens,
    top_k) each. Raises ValueError if the groups do not divide the experts.
    """
    likings = sigmoid(scores)
    corrected = likings + correction
    grouped = corrected.reshape(len(scores), groups, -1)
    worth = np.sort(grouped, axis=-1)[..., -2:].sum(-1)
    best = np.argsort(-worth, axis=-1, kind="stable")[:, :top_k_groups]
    allowed = np.zeros_like(worth, bool)
    np.put_along_axis(allowed, best, True, axis=-1)
    corrected = np.where(allowed[..., None], grouped, -np.inf).reshape(scores.shape)
    chosen = np.argsort(-corrected, axis=-1, kind="stable")[:, :top_k].astype(np.int32)
    expert_weights = np.take_along_axis(likings, chosen, axis=-1)
    if normalised:
        expert_weights = expert_weights / expert_weights.sum(-1, keepdims=True)
    return chosen, expert_weights * scores.dtype.type(factor)


def mix_experts(x: Array, experts: Experts, chosen: Array, expert_weights: Array) -> Array:
    """The answers of each token's chosen experts, weighted and summed.

    x (tokens, hidden); chosen int32 and expert_weights, (tokens, top_k) each. -> like x. Only experts that somebody
    chose are looked at. Experts add up in ascending order, whatever the batch. Raises ValueError for an x of another
    width than the experts'.
    """
    mixed = np.zeros_like(x)
    for expert in np.unique(chosen):
        token, rank = np.nonzero(chosen == expert)
        answer = one_expert(x[token], experts, int(expert))
        mixed[token] += expert_weights[token, rank, None].astype(x.dtype) * answer
    return mixed


def each_expert(x: Array, experts: Experts, chosen: Array, expert_weights: Array) -> Array:
    """The weighted answer of each chosen expert, which `mix_experts` sums in ascending order of experts.

    Arguments as `mix_experts` has them. -> (tokens, top_k, hidden), in the order of `chosen`. Raises ValueError for an
    x of another width than the experts'.
    """
    answers = np.zeros((*chosen.shape, x.shape[1]), x.dtype)
    for expert in np.unique(chosen):
        token, rank = np.nonzero(chosen == expert)
        answer = one_expert(x[token], experts, int(expert))
        answers[token, rank] = expert_weights[token, rank, None].astype(x.dtype) * answer
    return answers


def one_expert(x: Array, experts: Experts, e: int) -> Array:
    """The answer of expert e alone, unweighted. x (tokens, hidden) -> like x."""

    def bias(of_all: Any) -> Array | None:
        return None if of_all is None else of_all[e]

    gate = linear(x, experts.gate[e], bias(experts.gate_bias))
    up = linear(x, experts.up[e], bias(experts.up_bias))
    inner = swiglu(gate, up) if experts.limit is None else clamped_swiglu(gate, up, experts.alpha, experts.limit)
    return linear(inner, experts.down[e], bias(experts.down_bias))
