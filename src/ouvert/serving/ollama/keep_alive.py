"""keep_alive: how long a model stays in memory, as Ollama's clients say it."""

import re

from ouvert.serving.errors import Refusal

LONGEST = 100 * 365 * 86400.0  # seconds that a model may be kept
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
NOT_YOURS_TO_KEEP = "how long a model stays in memory is said by the owner of this server, or with a key."


def seconds_of(keep_alive: float | str) -> float | None:
    """How long a model stays: a number of seconds or a duration like "5m" or "1h30m"; below 0 it is None, for good.

    Raises Refusal.
    """
    if isinstance(keep_alive, str):
        text = keep_alive.strip()
        sign, digits = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
        parts = DURATION.findall(digits)
        if "".join(number + unit for number, unit in parts) == digits and parts:
            keep_alive = sign * sum(float(number) * SECONDS[unit] for number, unit in parts)
        elif re.fullmatch(r"\d+(\.\d*)?", digits):
            keep_alive = sign * float(digits)
        else:
            raise Refusal(
                400,
                f'keep_alive is {text!r:.80}, expected seconds, or a duration like "5m".',
                code="invalid_value",
                param="keep_alive",
            )
    return None if keep_alive < 0 else min(keep_alive, LONGEST)
