"""Which fields of a receipt decide its answer, and which of them are not now what they were."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ouvert.assistant.receipts.ended import Identity
from ouvert.assistant.receipts.ledger import LedgerError
from ouvert.assistant.receipts.receipt import READABLE, SINCE, VERSION, identity_facts
from ouvert.engine import BASE, EngineFacts

# What decides an answer's tokens. The number of threads is among it so that a change is said; it changes no number.
DECIDING = ("model", "engine", "sampling", "asked")
# A name changes nothing; whether weights were checked yet says when, not what; the digest of an identity is told by the
# fields that it is of.
NOT_COMPARED = frozenset({"model.name", "model.weights_checked", "engine.identity_digest"})
# What every receipt has, and what is read of it.
PARTS = ("model", "engine", "sampling", "tokens", "ended")
# The fields that a replay reads, and of what kind each is in every version of receipts.
KINDS: Mapping[str, type] = {
    "tokens.output": int,
    "tokens.prompt_digest": str,
    "tokens.output_digest": str,
    "ended.reason": str,
    "messages": list,
    "asked": Mapping,
    "asked.date": str,
    "left_out": Mapping,
    "left_out.messages": list,
    "adapters": list,
    "sampling.stop": list,
    "sampling.stop_ids": list,
    "sampling.logit_bias": Mapping,
}
MAY_LACK = frozenset(KINDS) - {"tokens.output", "tokens.prompt_digest", "tokens.output_digest", "ended.reason"}
JSON_NAMES: Mapping[type, str] = {int: "a whole number", str: "a string", list: "an array", Mapping: "a JSON object"}

PACKED = "model.packed_digest"
PACKED_FROM = ("model.weights_digest", "model.configuration_digest", "engine.layout")


@dataclass(frozen=True, slots=True)
class Change:
    """A field of the receipt that is not now what it was; None where it is absent."""

    field: str
    was: Any
    now: Any


def changes_between(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    """The fields of two receipts that decide an answer and are not the same, as far as both versions have them."""
    version = min(receipt.get("receipt", VERSION) for receipt in (was, now))
    before, after = dict(deciding(was)), dict(deciding(now))
    # Of other weights, in another layout, or of none (NumPy), packed weights are others, too: no change of its own.
    if any(before.get(field) != after.get(field) for field in PACKED_FROM) or None in (
        before.get(PACKED),
        after.get(PACKED),
    ):
        before.pop(PACKED, None)
        after.pop(PACKED, None)
    return tuple(
        Change(field, before.get(field), after.get(field))
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field) and field not in NOT_COMPARED and SINCE.get(field, 0) <= version
    )


def not_recorded(receipt: Mapping[str, Any]) -> list[str]:
    """Fields that decide an answer and that receipts of this one's version do not have."""
    return [field for field, since in SINCE.items() if since > receipt.get("receipt", VERSION)]


def deciding(receipt: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for part in DECIDING:
        yield from ((f"{part}.{name}", value) for name, value in receipt.get(part, {}).items())


def check_readable(receipt: Mapping[str, Any], operation: str) -> None:
    """Raises LedgerError for a receipt of a version that is not understood here, and for one that lacks a part or has
    something else in its place."""
    if not isinstance(receipt, Mapping):
        raise LedgerError(
            f"{operation}: the receipt is {receipt!r:.80}, expected a JSON object. Give the whole receipt, as "
            "`Finished.receipt` or `Ledger.find` has it."
        )
    version = receipt.get("receipt")
    if version not in READABLE:
        raise LedgerError(
            f"{operation}: the receipt's version is {version!r}, expected {' or '.join(map(str, READABLE))}. Use the "
            f"version of Ouvert that wrote it ({value_at(receipt, 'engine.version') or 'it does not say which'}); "
            "`ouvert receipt show` prints it as it is."
        )
    if lacking := [part for part in PARTS if not isinstance(receipt.get(part), Mapping)]:
        raise LedgerError(
            f"{operation}: the receipt has no {', '.join(lacking)}, expected a JSON object for each of "
            f"{', '.join(PARTS)}. Give the whole receipt, as `Finished.receipt` or `Ledger.find` has it."
        )
    check_kinds(receipt, operation)


def check_kinds(receipt: Mapping[str, Any], operation: str) -> None:
    """Raises LedgerError for the first field that is not of its kind."""
    for field, kind in KINDS.items():
        value = value_at(receipt, field)
        lacks = value is None and field in MAY_LACK and (field != "messages" or field not in receipt)
        if not isinstance(value, kind) and not lacks:
            raise LedgerError(
                f"{operation}: the receipt's {field} is {value!r:.80}, expected {JSON_NAMES[kind]}. Give the receipt "
                "as it was written: `Finished.receipt` or `Ledger.find` has it."
            )
    for field in ("messages", "adapters"):
        for place, each in enumerate(receipt.get(field, ())):
            if not isinstance(each, Mapping):
                raise LedgerError(
                    f"{operation}: the receipt's {field}[{place}] is {each!r:.80}, expected a JSON object. Give the "
                    "receipt as it was written: `Finished.receipt` or `Ledger.find` has it."
                )


def value_at(receipt: Mapping[str, Any], field: str) -> Any:
    """None where the receipt has no such field."""
    value: Any = receipt
    for name in field.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Whether a model is still the one of a receipt.

    `fields` of the receipt's parts model and engine -> whether they are the same; `changes` are those that are not.
    `not_recorded`: fields that receipts of its version do not have, so that a change would not show. `weights_checked`:
    all weights were compared with their digests just now; `damage` says what was found, if anything.
    """

    fields: Mapping[str, bool]
    changes: tuple[Change, ...]
    not_recorded: tuple[str, ...]
    weights_checked: bool
    damage: str | None

    @property
    def same_model(self) -> bool:
        """Whether the weights are whole, and neither a field of the part model nor an adapter has changed. Raises
        nothing."""
        parts = ("model.", "adapters.")
        return self.damage is None and not any(change.field.startswith(parts) for change in self.changes)


def verify(
    receipt: Mapping[str, Any],
    identity: Identity,
    facts: EngineFacts,
    damage: str | None,
    adapters: Mapping[str, str | None],
) -> Verified:
    """The model as it is now beside that of a receipt. `damage`: what a check of all its weights has found. `adapters`:
    of each adapter that the receipt names, by digest, what is on this machine now in its place.

    Raises LedgerError for a receipt that is not understood here.
    """
    check_readable(receipt, "verifying a receipt")
    now = identity_facts(identity, facts)
    now["engine"]["variant"] = receipt["engine"].get("variant", BASE.digest)  # a request chooses it, not the model
    changes = changes_between({part: receipt[part] for part in ("receipt", "model", "engine")}, now)
    named = {f"adapters.{each.get('name', n)}": each for n, each in enumerate(receipt.get("adapters", ()))}
    now_there = {field: adapters.get(each["digest"]) for field, each in named.items()}
    changes += tuple(
        Change(field, each["digest"], now_there[field])
        for field, each in named.items()
        if now_there[field] != each["digest"]
    )
    changed = {change.field for change in changes}
    fields = [*(f"{part}.{name}" for part in ("model", "engine") for name in receipt[part]), *named]
    return Verified(
        fields={field: field not in changed for field in fields if field not in NOT_COMPARED},
        changes=changes,
        not_recorded=tuple(not_recorded(receipt)),
        weights_checked=now["model"]["weights_checked"],
        damage=damage,
    )
