"""How tokens are chosen, as every dialect says it: from a client's numbers to those of `Model.sampling`."""

from typing import Any

LEAST_SHARE = 1e-9  # a top_p of 0: the likeliest token alone
SEEDS = 2**64


def sampling_of(**stated: Any) -> dict[str, Any]:
    """Fields of `Model.sampling`, from what a client stated under their names; None is left out.

    A `top_p` of 0 keeps the likeliest token alone, a `top_k` of -1 keeps all, a `seed` may be any whole number.
    """
    chosen = {name: value for name, value in stated.items() if value is not None}
    if "top_p" in chosen:
        chosen["top_p"] = max(chosen["top_p"], LEAST_SHARE)
    if "top_k" in chosen:
        chosen["top_k"] = max(chosen["top_k"], 0)
    if "seed" in chosen:
        chosen["seed"] %= SEEDS
    return chosen
