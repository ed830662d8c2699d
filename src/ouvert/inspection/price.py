"""What looking costs, said before it is paid: seconds of computing, and bytes of what is kept."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ouvert import kernels
from ouvert.arithmetic import Experts
from ouvert.inspection.error import InspectionError
from ouvert.inspection.subject import Subject
from ouvert.kernels import Packed

# Of the multiply-adds that this machine can do at most, what a step of some hundred tokens reaches, and what the output
# matrix does, whose activations have 16 bits and whose rows are then looked through (docs/journal.md, looking inside).
REACHED = 0.4
HEAD_REACHED = 0.15
UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


@dataclass(frozen=True, slots=True)
class Price:
    """`tokens` are computed, in about `seconds`; what is kept of them takes `bytes`.

    The bytes are exact. The seconds are a forecast, from the speed that this machine has at this moment: within a
    factor of two as a rule.
    """

    tokens: int
    seconds: float
    bytes: int


def price_of(subject: Subject, tokens: int, names: Sequence[str], places: int, head_rows: int = 0) -> Price:
    """Of computing a sequence of so many tokens and keeping these values of `places` of them; `head_rows` more rows go
    through the output matrix (a lens). Raises KeyError for a value that the model does not show."""
    unembedding = getattr(subject.model.parameters, "unembedding", None)
    head = 0 if unembedding is None else unembedding.rows * unembedding.columns
    work = tokens * products_a_token(subject) / REACHED + (tokens + head_rows) * head / HEAD_REACHED
    rate = kernels.multiply_adds(subject.threads, 1)
    kept = sum(4 * places * subject.width(name, tokens) for name in names)
    return Price(tokens, work / rate, kept)


def products_a_token(subject: Subject) -> int:
    """Multiplications with addition that a token's matrices take, without the embedding and the output matrix: of
    experts only those that are chosen. Raises nothing."""
    return sum(
        products(layer, subject.model.config.sizes().get("top_k", 1)) for layer in subject.model.parameters.layers
    )


def products(weights: Any, top_k: int) -> int:
    if isinstance(weights, Experts):
        return top_k * sum(int(each.rows * each.columns) for each in (weights.gate, weights.up, weights.down))
    if isinstance(weights, Packed):
        return weights.experts * weights.rows * weights.columns
    if is_dataclass(weights):
        return sum(products(getattr(weights, field.name), top_k) for field in fields(weights))
    return 0


def as_bytes(given: int | str) -> int:
    """A number of bytes: 800000000, "800 MB", "2GB". Raises InspectionError for what is none."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(given).lower())
    if isinstance(given, bool) or not found or found[2] not in UNITS:
        raise InspectionError(f'max_bytes: {given!r:.80}, expected a number of bytes, or a size such as "800 MB".')
    return int(float(found[1]) * UNITS[found[2]])


def check_price(price: Price, max_bytes: int | str, what: str) -> None:
    """Raises InspectionError, with both numbers, for what would take more than it may."""
    most = as_bytes(max_bytes)
    if price.bytes > most:
        raise InspectionError(
            f"{what}: what is kept takes {price.bytes} bytes ({price.bytes / 1e6:.1f} MB), expected at most {most} "
            f"({most / 1e6:.1f} MB). Record fewer values or positions, or allow more (max_bytes)."
        )
