"""The operations a transformer is made of, in NumPy, written to be read: what every fast one is held to.

Imports nothing of ours. Plain functions for single operations; `Ops` is the object a model's graph receives.
"""

from ouvert.arithmetic.attention import KeyValues, Latents, attend, softmax_shares
from ouvert.arithmetic.dense import embed, heads, join, linear, linear_heads, rms_norm, select
from ouvert.arithmetic.experts import Experts, best_few, best_few_of_groups, mix_experts
from ouvert.arithmetic.gates import clamped_swiglu, silu, swiglu
from ouvert.arithmetic.ops import Batch, Ops, Past
from ouvert.arithmetic.rotation import Rope, rotate
from ouvert.arithmetic.states import KEPT_EVERY, Moment, State, convolve, scan
from ouvert.arithmetic.taps import Recorder, Tap

__all__ = [
    "KEPT_EVERY",
    "Batch",
    "Experts",
    "KeyValues",
    "Latents",
    "Moment",
    "Ops",
    "Past",
    "Recorder",
    "Rope",
    "State",
    "Tap",
    "attend",
    "best_few",
    "best_few_of_groups",
    "clamped_swiglu",
    "convolve",
    "embed",
    "heads",
    "join",
    "linear",
    "linear_heads",
    "mix_experts",
    "rms_norm",
    "rotate",
    "scan",
    "select",
    "silu",
    "softmax_shares",
    "swiglu",
]
