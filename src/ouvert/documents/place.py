"""A place in a document, as it is shown to who follows a citation: the page, and the cited words on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ouvert.documents.found import Document

AROUND = 20_000  # characters of the page that are shown before the cited words, and behind them
PICTURED = "pdf"  # the kind whose pages are drawn


@dataclass(frozen=True, slots=True)
class Place:
    """Characters `start` to `stop` of a document, of whose `pages` (number, start, stop, scan) `at` has the first.

    Its properties raise nothing."""

    collection: str
    document: Document
    pages: Sequence[tuple[int, int, int, bool]]
    at: int
    start: int
    stop: int
    text: str

    @property
    def quote(self) -> str:
        """The cited words, as far as they stand on that page."""
        return self.text[self.start : min(self.stop, self.pages[self.at][2])]

    @property
    def nth(self) -> int:
        """How often the same words stand on the page before these, white space aside, as its picture counts them."""
        squeezed, wanted = "".join(self._before.split()), "".join(self.quote.split())
        return squeezed.count(wanted) if wanted else 0

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON: docs/formats/documents.md."""
        number, _, stop, scan = self.pages[self.at]
        before, after = self._before, self.text[self.start + len(self.quote) : stop]
        return {
            "collection": self.collection,
            "document": self.document.id,
            "name": self.document.name,
            "title": self.document.title,
            "kind": self.document.kind,
            "page": number,
            "pages": len(self.pages),
            "paged": self.document.paged,
            "pictured": self.document.kind == PICTURED,
            "scan": scan,
            "start": self.start,
            "stop": self.start + len(self.quote),
            "before": before[-AROUND:],
            "quote": self.quote,
            "after": after[:AROUND],
            "cut": len(before) > AROUND or len(after) > AROUND,
            "previous": self.pages[self.at - 1][1] if self.at else None,
            "next": self.pages[self.at + 1][1] if self.at + 1 < len(self.pages) else None,
        }

    @property
    def _before(self) -> str:
        return self.text[self.pages[self.at][1] : self.start]
