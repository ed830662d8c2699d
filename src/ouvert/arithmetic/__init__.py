"""The operations a transformer is made of, in NumPy, written to be read: what every fast one is held to.

Imports nothing of ours. Plain functions for single operations; `Ops` is the object a model's graph receives.
"""

from ouvert.arithmetic.attention import KeyValues, attend, softmax_shares
from ouvert.arithmetic.dense import embed, heads, linear, rms_norm, select
from ouvert.arithmetic.experts import Experts, best_few, mix_experts
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
    "Moment",
    "Ops",
    "Past",
    "Recorder",
    "Rope",
    "State",
    "Tap",
    "attend",
    "best_few",
    "clamped_swiglu",
    "convolve",
    "embed",
    "heads",
    "linear",
    "mix_experts",
    "rms_norm",
    "rotate",
    "scan",
    "select",
    "silu",
    "softmax_shares",
    "swiglu",
]
