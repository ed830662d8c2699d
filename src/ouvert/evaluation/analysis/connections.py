"""What was reached beyond this machine while the answers were given."""

from collections.abc import Iterable, Mapping
from typing import Any

COUNTS = ("attempted", "allowed", "denied")


def connections_of(receipts: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The sums of `attempted`, `allowed` and `denied` over all receipts that count them, and how many of `receipts`
    do: `counted`. None where none does. Raises nothing.

    Every attempt stands in one receipt (docs/formats/receipt.md), so that sums count each once.
    """
    listed = list(receipts)
    counted = [each["connections"] for each in listed if _counts(each.get("connections"))]
    if not counted:
        return None
    sums = {name: sum(each[name] for each in counted) for name in COUNTS}
    return {**sums, "counted": len(counted), "receipts": len(listed)}


def _counts(connections: Any) -> bool:
    return isinstance(connections, Mapping) and all(isinstance(connections.get(name), int) for name in COUNTS)
