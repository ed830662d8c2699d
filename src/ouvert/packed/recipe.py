"""What a packed file is made from, as one digest: two files of the same recipe hold the same bytes."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ouvert.models import Parameter
from ouvert.weights import Tensor


def recipe_digest(
    layout_version: str, source: str, parameters: Iterable[Parameter], rounding: Mapping[str, Any] | None = None
) -> str:
    """Of all that decides the bytes of a packed file: the source's weights, the layout's version, from which rows of
    which tensor each parameter is taken, and how matrices are rounded (`packed.precision.rounding`)."""
    taken = [[each.name, each.kind, list(each.shape), each.same_as, described(each.source)] for each in parameters]
    return json_digest({"layout": layout_version, "source": source, "parameters": taken, **(rounding or {})})


def json_digest(facts: Mapping[str, Any]) -> str:
    """ "sha256:<hex>" of the canonical JSON of `facts`. Raises TypeError for what is no JSON value."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def described(value: Any) -> Any:
    """A configuration or a parameter's source as JSON: classes by name, tensors by name and shape, arrays by digest.

    Raises TypeError for what it does not know, so that nothing is left out of a digest in silence.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Tensor():
            return ["Tensor", value.name, list(value.shape), value.encoding]
        case np.ndarray():
            digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
            return ["array", str(value.dtype), list(value.shape), digest]
        case np.generic():
            return described(value.item())
        case tuple() | list():
            return [described(each) for each in value]
        case Mapping():
            return {str(key): described(each) for key, each in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, type):
            stated = {field.name: described(getattr(value, field.name)) for field in fields(value)}
            return {"is": type(value).__name__, **stated}
    raise TypeError(f"describing {value!r:.80} ({type(value).__name__}) for a digest: not a value that is known.")
