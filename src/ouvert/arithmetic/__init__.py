"""The operations a transformer is made of, in NumPy, written to be read: what every fast one is held to.

Imports nothing of ours. Plain functions for single operations; `Ops` is the object a model's graph receives;
`sampling` chooses tokens.
"""

from ouvert.arithmetic import sampling
from ouvert.arithmetic.adapters import Carrier, LowRank, WeightShape
from ouvert.arithmetic.attention import (
    AttentionRows,
    KeyValues,
    Latents,
    attend,
    attend_expanded,
    attention_rows,
    softmax,
)
from ouvert.arithmetic.changes import Change, ChangingTap, changed
from ouvert.arithmetic.changes import Operation as ChangeOperation
from ouvert.arithmetic.dense import embed, heads, join, linear, linear_heads, rms_norm, select
from ouvert.arithmetic.experts import Experts, each_expert, mix_experts, route_top_k, route_top_k_of_groups
from ouvert.arithmetic.gates import clamped_swiglu, silu, swiglu
from ouvert.arithmetic.mxint8 import as_mxint8, is_mxint8
from ouvert.arithmetic.ops import Batch, Cache, Ops
from ouvert.arithmetic.rotation import Rope, rotate
from ouvert.arithmetic.states import KEPT_EVERY, State, StateSnapshot, convolve, selective_scan, ssd_scan
from ouvert.arithmetic.taps import Recorder, Tap, never_shown

__all__ = [
    "KEPT_EVERY",
    "AttentionRows",
    "Batch",
    "Cache",
    "Carrier",
    "Change",
    "ChangeOperation",
    "ChangingTap",
    "Experts",
    "KeyValues",
    "Latents",
    "LowRank",
    "Ops",
    "Recorder",
    "Rope",
    "State",
    "StateSnapshot",
    "Tap",
    "WeightShape",
    "as_mxint8",
    "attend",
    "attend_expanded",
    "attention_rows",
    "changed",
    "clamped_swiglu",
    "convolve",
    "each_expert",
    "embed",
    "heads",
    "is_mxint8",
    "join",
    "linear",
    "linear_heads",
    "mix_experts",
    "never_shown",
    "rms_norm",
    "rotate",
    "route_top_k",
    "route_top_k_of_groups",
    "sampling",
    "select",
    "selective_scan",
    "silu",
    "softmax",
    "ssd_scan",
    "swiglu",
]
