"""What is known of a document, and what is found in it."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file of a collection. `id` is the beginning of its `digest`; `unread`: its pages that were not read, for they
    are pictures; `source`: the file it was read from and is read again from, or None."""

    id: str
    digest: str
    name: str
    title: str
    kind: str
    size: int
    added: str
    pages: int
    unread: tuple[int, ...]
    characters: int
    language: str
    paged: bool
    source: str | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON: docs/formats/documents.md. Raises nothing."""
        return {**asdict(self), "unread": list(self.unread)}


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `stop` of a document's text; `page` is where it begins, of those that people see if it is
    `paged`."""

    collection: str
    document: str
    name: str
    page: int
    paged: bool
    start: int
    stop: int

    def until(self, stop: int) -> Self:
        """The same up to another end. Raises nothing."""
        return replace(self, stop=stop)

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON. Raises nothing."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A passage. `start` and `stop` are characters of the document's text, `path` the headings above it; `score` is
    higher for a better one, and None where nothing was asked."""

    collection: str
    document: str
    name: str
    title: str
    page: int
    paged: bool
    start: int
    stop: int
    path: tuple[str, ...]
    text: str
    score: float | None = None

    @property
    def span(self) -> Span:
        """Where it stands. Raises nothing."""
        return Span(self.collection, self.document, self.name, self.page, self.paged, self.start, self.stop)

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON. Raises nothing."""
        return {**asdict(self), "path": list(self.path)}

    @property
    def place(self) -> str:
        """Where it is, for people and models: "lease.pdf, page 3 › Deposit". Raises nothing."""
        page = f", page {self.page}" if self.paged else ""
        return " › ".join([f"{self.name}{page}", *self.path])
