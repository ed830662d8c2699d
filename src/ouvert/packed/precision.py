"""How many bits a weight keeps: the rule, for every family, format and machine alike. docs/formats/packed.md tells it.

A precision is that of the large matrices. At "stored" every matrix keeps its encoding; at "16", "8" and "4" those with
more bits are rounded. Small matrices, and those whose errors weigh more than their size, keep more bits than others.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ouvert.models import Parameter
from ouvert.weights import ENCODINGS, PrecisionError

Precision = Literal["stored", "16", "8", "4"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
STORED: Precision = "stored"
# What floats are rounded to where nobody says another precision.
USUAL: Precision = "4"


@dataclass(frozen=True, slots=True)
class PrecisionLimit:
    """A precision for models that have more bits; one that has fewer already stays as it is. What a setting for all
    models means, where a precision that is asked of one model is refused if that model has fewer bits."""

    precision: Precision


AskedPrecision = Precision | PrecisionLimit

# Part of a rounded file's recipe: another number whenever floats are rounded to other codes, so that no file of
# another version is taken for one of this.
ROUNDING_VERSION = 1

# Kinds of parameters that are multiplied with or looked up; the others are vectors and stay float32.
MATRICES = frozenset({"embedding", "linear", "experts"})

# A matrix of fewer weights is not rounded: it is little beside any model, and may be what steers one.
SMALL = 1 << 16
# A model of fewer weights in its matrices is not rounded unless somebody asks for it: a toy with nothing to spare.
SMALL_MODEL = 1 << 24
# Columns that share a scale in every layout with few bits, and in those that are called K.
BLOCK, SUPER_BLOCK = 32, 256

# Bits of a code in the layouts that weights are rounded to, and of a weight with its share of scales.
BITS: Mapping[str, int] = {"BF16": 16, "Q8_0": 8, "Q6_K": 6, "Q5_1": 5, "Q5_K": 5, "Q4_K": 4}
BITS_A_WEIGHT: Mapping[str, float] = {"BF16": 16, "Q8_0": 8.5, "Q6_K": 6.625, "Q5_1": 6, "Q5_K": 5.5, "Q4_K": 4.5}

EMBEDDING = "embedding"

# The last part of our names -> least bits. Routers choose experts; a state space's steps, and its projections into
# and out of the states, add up over all tokens; latents and their absorbed projections serve all heads at once.
KEEPS_ALL = frozenset({"router"})
KEEPS_EIGHT = frozenset({"dt", "dt_low", "B", "C", "latent", "key_rope", "key", "value"})
# At four bits, two bits more than the others: keys and values, which are small where many heads share them, in every
# layer; `down` in the first and last eighth of the layers and in every third between.
SENSITIVE_EVERYWHERE = frozenset({"k", "v"})
SENSITIVE = frozenset({"down"})


def bits_of(encoding: str) -> int:
    """Bits of a weight's code, without its share of scales: 4 for Q4_K, 16 for BF16. Raises nothing."""
    known = ENCODINGS[encoding]
    return known.block_bytes * 8 // known.block_weights


def is_rounded(encoding: str) -> bool:
    """Whether weights in this encoding share scales, as what somebody has quantised does. Raises nothing."""
    return ENCODINGS[encoding].block_weights > 1


def usual_precision(parameters: Iterable[Parameter]) -> Precision:
    """Where nobody says another: "stored" for a small model, and for one that somebody has quantised, else `USUAL`.

    Raises nothing.
    """
    found = matrices(parameters)
    small = sum(math.prod(each.shape) for each in found) < SMALL_MODEL
    return STORED if small or any(is_rounded(each.encoding) for each in found) else USUAL


def settled(parameters: Sequence[Parameter], asked: AskedPrecision | None, path: object = "weights") -> Precision:
    """The precision at which these parameters are placed: `asked`, or the usual one. "stored" if nothing changes by it.

    Raises PrecisionError, which names the `path`, for more bits than any matrix has, unless they are a limit: rounding
    cannot be undone.
    """
    precision = precision_itself(asked) or usual_precision(parameters)
    if precision == STORED:
        return STORED
    most = max((bits_of(each.encoding) for each in matrices(parameters)), default=0)
    if most < int(precision) and isinstance(asked, str):
        raise PrecisionError(
            f"{path} at the precision {precision}: its weights are stored with {most} bits at most, and what was "
            "rounded away does not come back. To have them as they are, ask for @stored behind the name, or leave the "
            "precision out; or fetch weights of more bits."
        )
    return precision if layouts(parameters, precision) else STORED


def precision_itself(asked: AskedPrecision | None) -> Precision | None:
    """What is asked of a model that has the bits for it. Raises nothing."""
    return asked.precision if isinstance(asked, PrecisionLimit) else asked


def layouts(parameters: Sequence[Parameter], precision: Precision) -> dict[str, str]:
    """The layout of each matrix that does not keep its encoding at this precision. Raises nothing."""
    if precision == STORED:
        return {}
    count = 1 + max((layer_of(each.name) or 0 for each in parameters), default=0)
    tied = any(each.same_as == EMBEDDING for each in parameters)
    chosen = {
        each.name: layout_at(each.name, each.shape, precision, layers=count, tied=tied) for each in matrices(parameters)
    }
    encodings = {each.name: each.encoding for each in parameters}
    return {name: layout for name, layout in chosen.items() if layout and bits_of(encodings[name]) > BITS[layout]}


def layout_at(name: str, shape: Sequence[int], precision: Precision, *, layers: int, tied: bool) -> str | None:
    """The layout of a matrix with our `name`, in a model of so many layers, if it has more bits than that. `tied`: the
    head has the bytes of the embedding.

    None: it keeps its encoding. Raises nothing.
    """
    *_, columns = shape
    last = name.rpartition(".")[2]
    if precision == STORED or math.prod(shape) < SMALL or last in KEEPS_ALL:
        return None
    if precision == "16":
        return "BF16"
    if columns % BLOCK:
        return None
    if precision == "8" or last in KEEPS_EIGHT:
        return "Q8_0"
    if name == EMBEDDING and not tied:
        return "Q5_1" if columns % SUPER_BLOCK else "Q5_K"
    sensitive = last in SENSITIVE_EVERYWHERE or (last in SENSITIVE and gets_more(layer_of(name), layers))
    more = sensitive or name in (EMBEDDING, "unembedding")
    if columns % SUPER_BLOCK:
        return "Q8_0" if more else "Q5_1"
    return "Q6_K" if more else "Q4_K"


def gets_more(layer: int | None, layers: int) -> bool:
    """Whether a sensitive matrix of this layer gets two bits more. Raises nothing."""
    if layer is None:
        return False
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def layer_of(name: str) -> int | None:
    """The number of the layer that a parameter belongs to. Raises nothing."""
    found = re.match(r"layers\.(\d+)\.", name)
    return int(found[1]) if found else None


def matrices(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Those that have bytes of their own and are multiplied with or looked up. Raises nothing."""
    return [each for each in parameters if each.kind in MATRICES and each.same_as is None]


def rounding(parameters: Sequence[Parameter], precision: Precision) -> Mapping[str, Any]:
    """What a recipe says of the rounding: nothing where there is none. Raises nothing."""
    chosen = layouts(parameters, precision)
    return {"rounding": {"version": ROUNDING_VERSION, "layouts": chosen}} if chosen else {}
