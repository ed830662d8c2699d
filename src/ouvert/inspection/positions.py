"""Which tokens of a trace are kept."""

from collections.abc import Iterable, Sequence

import numpy as np

from ouvert.inspection.error import InspectionError
from ouvert.inspection.subject import Array
from ouvert.inspection.tokens import TracedToken

Positions = str | Iterable[int]
MOST_DIGITS = 9  # of a number in words


def places_asked(tokens: Sequence[TracedToken], asked: Positions) -> Array:
    """Ascending places: of "all" tokens, the "prompt", the "answer", the "last" one, "message N", or those of the
    numbers given (negative ones count from the end).

    Raises InspectionError for what is none of these, and for a place that is not there.
    """
    if not isinstance(asked, str):
        return numbered(tokens, asked)
    match asked.split():
        case ["all"]:
            chosen = [token.place for token in tokens]
        case ["last"]:
            chosen = [token.place for token in tokens[-1:]]
        case ["prompt" | "answer" as part]:
            chosen = [token.place for token in tokens if token.part == part]
        case ["message", number] if number.isdecimal() and len(number) <= MOST_DIGITS:
            chosen = [token.place for token in tokens if token.message == int(number)]
        case _:
            chosen = []
    if not chosen:
        messages = sorted({token.message for token in tokens if token.message is not None})
        raise InspectionError(
            f"positions: {asked!r:.80} names no token of these {len(tokens)}, expected all, prompt, answer, last, "
            f"message N (with N of {messages}), or numbers."
        )
    return np.array(chosen, np.int64)


def numbered(tokens: Sequence[TracedToken], asked: Iterable[int]) -> Array:
    """Raises InspectionError for a place that is not there."""
    given = list(asked)
    whole = [n for n in given if isinstance(n, int | np.integer) and not isinstance(n, bool)]
    if not given or len(whole) != len(given) or not all(-len(tokens) <= n < len(tokens) for n in whole):
        raise InspectionError(
            f"positions: {given!r:.80}, expected one or more whole numbers from {-len(tokens)} to {len(tokens) - 1}: "
            f"there are {len(tokens)} tokens."
        )
    return np.unique([int(n) % len(tokens) for n in whole])
