"""The one way in which an answer ends: its receipt is written, kept in the ledger, and handed over with Finished."""

from collections.abc import Callable, Sequence
from typing import Any

from ouvert.assistant.events import Finished
from ouvert.assistant.receipts.contents import contents_of
from ouvert.assistant.receipts.ended import Ended
from ouvert.assistant.receipts.ledger import Ledger, recorded
from ouvert.assistant.receipts.receipt import write_receipt
from ouvert.engine import Engine, Variant
from ouvert.safety import Counts, Guard

AdapterFacts = Callable[[Variant], Sequence[dict[str, Any]]]  # name, digest and state of each: docs/formats/receipt.md


class ReceiptWriter:
    """Ends the answers of one engine."""

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger | None = None,
        guard: Guard | None = None,
        adapters: AdapterFacts | None = None,
    ) -> None:
        """Receipts are kept in `ledger`; without one they are only handed over. They count what `guard` saw; without
        one they say nothing of connections. `adapters`: what they say of a variant's adapters; without it, only the
        digests."""
        self._engine, self._ledger, self._guard, self._adapters = engine, ledger, guard, adapters

    def connections_before(self) -> Counts | None:
        """What `finish` has to know of the moment when the answer begins."""
        return None if self._guard is None else self._guard.counts

    def finish(self, ended: Ended, connections_before: Counts | None) -> Finished:
        """The last event of an answer."""
        connections = None
        if self._guard is not None and connections_before is not None:
            connections = self._guard.report(connections_before)
        parts = ended.stopped.parts
        facts = parts[0].facts if parts else self._engine.facts
        variant = ended.stopped.variant
        adapters = variant.facts()["adapters"] if self._adapters is None else self._adapters(variant)
        receipt, unrecorded = recorded(
            self._ledger, write_receipt(ended, facts, connections, adapters), lambda: contents_of(ended)
        )
        return Finished(
            reason=ended.reason,
            usage=ended.usage,
            tool_calls=ended.tool_calls,
            receipt=receipt,
            unrecorded=unrecorded,
        )
