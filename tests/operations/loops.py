"""Every operation as a slow loop: float64, one token, head or channel after another, to be checked by eye."""

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    products = np.array([[(row * weights).sum() for weights in weight] for row in x])
    return products if bias is None else products + bias


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    return np.array([row / math.sqrt(math.fsum(row * row) / len(row) + eps) * weight for row in x])


def rms_norm_of_groups(x: Array, weight: Array, eps: float, groups: int) -> Array:
    parts = zip(np.split(x, groups, axis=1), np.split(weight, groups), strict=True)
    return np.concatenate([rms_norm(part, of_part, eps) for part, of_part in parts], axis=1)


def by_heads(of_one_head: Any, x: Array, head_dim: int, *given: Any) -> Array:
    return np.concatenate([of_one_head(x[:, at : at + head_dim], *given) for at in range(0, x.shape[1], head_dim)], 1)


def rotated(x: Array, inverse_frequencies: Array, magnitude: float) -> Array:
    """One head's numbers (tokens, head_dim): number j and number j + half are one complex number, which turns."""
    half, turned = len(inverse_frequencies), x.copy()
    for position, (row, given) in enumerate(zip(turned, x, strict=True)):
        for j, frequency in enumerate(inverse_frequencies):
            spun = complex(given[j], given[j + half]) * magnitude * np.exp(1j * position * frequency)
            row[j], row[j + half] = spun.real, spun.imag
    return turned


def attention(
    q: Array, k: Array, v: Array, heads: tuple[int, int], scale: float, window: int | None = None,
    sinks: Array | None = None,
) -> Array:  # fmt: skip
    """Query head h looks with kv head h // group at the tokens up to its own, at the last `window` of them."""
    q_heads, kv_heads = heads
    tokens, head_dim, value_dim = len(q), k.shape[1] // kv_heads, v.shape[1] // kv_heads
    mixed = np.zeros((tokens, q_heads * value_dim))
    for t in range(tokens):
        first = 0 if window is None else max(0, t + 1 - window)
        for h in range(q_heads):
            kv = h // (q_heads // kv_heads)
            keys = k[first : t + 1, kv * head_dim : (kv + 1) * head_dim]
            scores = scale * keys @ q[t, h * head_dim : (h + 1) * head_dim]
            largest = max([*scores, *([] if sinks is None else [sinks[h]])])
            shares = np.exp(scores - largest)
            total = shares.sum() + (0 if sinks is None else math.exp(sinks[h] - largest))
            values = v[first : t + 1, kv * value_dim : (kv + 1) * value_dim]
            mixed[t, h * value_dim : (h + 1) * value_dim] = shares @ values / total
    return mixed


def latent_attention(q: Array, latents: Array, heads: int, value_width: int, scale: float) -> Array:
    return attention(q, latents, latents[:, :value_width], (heads, 1), scale)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def gated(gate: Array, up: Array) -> Array:
    return np.vectorize(lambda a, b: a * sigmoid(a) * b, otypes=[float])(gate, up)


def clamped_gated(gate: Array, up: Array, alpha: float, limit: float) -> Array:
    def one(a: float, b: float) -> float:
        a, b = min(a, limit), max(-limit, min(b, limit))
        return a * sigmoid(alpha * a) * (b + 1)

    return np.vectorize(one, otypes=[float])(gate, up)


def shares_of(scores: Any) -> Array:
    exponentials = np.exp(np.asarray(scores) - max(scores))
    return exponentials / exponentials.sum()


def best(scores: Any, count: int) -> list[int]:
    """The indices of the largest; of equals the first."""
    return sorted(range(len(scores)), key=lambda n: (-scores[n], n))[:count]


def routed(scores: Array, top_k: int, chosen: Array | None = None, normalised: bool = True) -> dict[str, Array]:
    picked = [best(row, top_k) for row in scores] if chosen is None else chosen
    if normalised:
        weights = [shares_of(row[list(each)]) for row, each in zip(scores, picked, strict=True)]
    else:
        weights = [shares_of(row)[list(each)] for row, each in zip(scores, picked, strict=True)]
    return {"rows": np.array(weights), "chosen": np.array(picked)}


def routed_in_groups(
    scores: Array, correction: Array, top_k: int, groups: int, top_k_groups: int, normalised: bool, factor: float
) -> dict[str, Array]:
    """A group counts for its two best experts; of the best groups the best experts are taken."""
    size, chosen, weights = scores.shape[1] // groups, [], []
    for row in scores:
        liking = [sigmoid(score) for score in row]
        corrected = [a + b for a, b in zip(liking, correction, strict=True)]
        worth = [sum(sorted(corrected[g * size : (g + 1) * size])[-2:]) for g in range(groups)]
        allowed = best(worth, top_k_groups)
        picked = best([each if n // size in allowed else -math.inf for n, each in enumerate(corrected)], top_k)
        total = sum(liking[n] for n in picked) if normalised else 1.0
        chosen.append(picked)
        weights.append([factor * liking[n] / total for n in picked])
    return {"rows": np.array(weights), "chosen": np.array(chosen)}


def mixed_experts(x: Array, scores: Array, top_k: int, w: dict[str, Array], gate: Any) -> Array:
    """Each token after the other asks its experts, and `gate` joins their gate and up."""
    mixed = np.zeros_like(x)
    for t, row in enumerate(x):
        chosen = best(scores[t], top_k)
        for expert, share in zip(chosen, shares_of(scores[t][chosen]), strict=True):
            a, b = w["gate"][expert] @ row, w["up"][expert] @ row
            if "gate_bias" in w:
                a, b = a + w["gate_bias"][expert], b + w["up_bias"][expert]
            answer = w["down"][expert] @ gate(a, b)
            if "down_bias" in w:
                answer = answer + w["down_bias"][expert]
            mixed[t] += share * answer
    return mixed


def convolved(x: Array, weight: Array, bias: Array) -> Array:
    """silu of each channel's sum over its last inputs; before the first token they were nought."""
    tokens, channels = x.shape
    taps, result = weight.shape[1], np.zeros_like(x)
    for t in range(tokens):
        for c in range(channels):
            total = bias[c]
            for tap in range(taps):
                at = t - (taps - 1) + tap
                total += x[at, c] * weight[c, tap] if at >= 0 else 0
            result[t, c] = total * sigmoid(total)
    return result


def scanned(x: Array, dt: Array, A: Array, B: Array, C: Array, D: Array) -> Array:
    """Token after token, every channel's states decay, take in x, and are read."""
    result, state = np.zeros_like(x), np.zeros_like(A)
    for t, given in enumerate(x):
        moved = np.log1p(np.exp(dt[t]))[:, None]
        state = np.exp(moved * A) * state + moved * given[:, None] * B[t]
        result[t] = state @ C[t] + D * given
    return result


def ssd_scanned(
    xBC: Array, dt: Array, A: Array, D: Array, states: int, groups: int, limits: tuple[float, float]
) -> Array:
    """Head after head: its state, (head_dim, states), decays as one, and is read with its group's C."""
    channels = xBC.shape[1] - 2 * groups * states
    heads, head_dim = len(A), channels // len(A)
    result = np.zeros((len(xBC), channels))
    for h in range(heads):
        g, state = h * groups // heads, np.zeros((head_dim, states))
        for t, row in enumerate(xBC):
            x = row[h * head_dim : (h + 1) * head_dim]
            B, C = (row[at : at + states] for at in (channels + g * states, channels + (groups + g) * states))
            moved = min(max(math.log1p(math.exp(dt[t, h])), limits[0]), limits[1])
            state = math.exp(moved * A[h]) * state + moved * np.outer(x, B)
            result[t, h * head_dim : (h + 1) * head_dim] = state @ C + D[h] * x
    return result
