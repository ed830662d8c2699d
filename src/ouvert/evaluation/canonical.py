"""Values as the one line of JSON that digests are of."""

import json
from dataclasses import asdict, is_dataclass
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Keys sorted, no white space, ASCII; a dataclass is the object of its fields. Raises ValueError for NaN, TypeError
    for what JSON does not have."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
