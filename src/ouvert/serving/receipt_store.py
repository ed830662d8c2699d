"""The receipts of the last answers, kept in memory while the server runs."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any


class ReceiptStore:
    """By whose they are and the id of their answer. Bounded: the oldest go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: OrderedDict[tuple[str, str], dict[int, Mapping[str, Any]]] = OrderedDict()

    def keep(self, answer_id: str, whose: str, number: int, receipt: Mapping[str, Any]) -> None:
        """`number`: which of the answer's choices it is of."""
        self._of.setdefault((whose, answer_id), {})[number] = receipt
        while len(self._of) > self._most:
            self._of.popitem(last=False)

    def of(self, answer_id: str, whose: str) -> list[Mapping[str, Any]]:
        """The receipts of every choice of an answer, in order; empty if the answer is not known."""
        kept = self._of.get((whose, answer_id), {})
        return [kept[number] for number in sorted(kept)]
