"""What graphs compute for a tap alone: where heads look, what each expert answers, how large states are.

Nobody looks: nothing is computed. What a graph goes on with is not touched either way.
"""

from typing import Any

from ouvert.arithmetic import Experts
from ouvert.models.operations import Operations, Value, Watch, Weight

# How many of the heaviest positions of a head are shown.
TOP = 8

OF_ATTENTION = {
    "attention.weights": "weights",
    "attention.sink": "sink",
    "attention.top": "top",
    "attention.top_weights": "top_weights",
}


def show_attention(
    q: Value,
    cache: Any,
    ops: Operations,
    tap: Watch,
    *,
    scale: float,
    window: int | None = None,
    sinks: Weight | None = None,
) -> None:
    """Where each head of q looked in the attention just before, which had the same arguments."""
    names = [name for name in OF_ATTENTION if (name != "attention.sink" or sinks is not None) and tap.wants(name)]
    if names:
        rows = ops.attention_rows(q, cache, scale=scale, window=window, sinks=sinks, top=TOP)
        for name in names:
            tap(name, getattr(rows, OF_ATTENTION[name]))


def mix_experts(x: Value, experts: Experts, chosen: Value, expert_weights: Value, ops: Operations, tap: Watch) -> Value:
    """`ops.mix_experts`, and what each expert adds to it."""
    mixed = ops.mix_experts(x, experts, chosen, expert_weights)
    if tap.wants("experts.each"):
        tap("experts.each", ops.each_expert(x, experts, chosen, expert_weights))
    return mixed
