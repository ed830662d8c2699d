"""Kept pages on disk: read and written in threads of its own, beside the engine's steps."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence as Ordered
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from ouvert.engine.prefixes.scope import Scope
from ouvert.engine.prefixes.tree import Node
from ouvert.engine.variant import BASE

# Shorter sequences are sooner computed than looked for.
WORTH_SAVING = 128  # tokens
WORTH_FETCHING = 16
# How much sooner than a page the one that continues it counts as last used, so that ends go before beginnings.
SOONER = 1e-3  # seconds


Holds = Callable[[Ordered[int]], bool]  # whether the tokens of a sequence hold what is to be forgotten


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page belongs: the name that the pages of its scope start from, that of the page before it or again of the
    start, the tokens it holds, and the name that its owner's pages of the base start from."""

    owner: str
    root: str
    parent: str
    ids: tuple[int, ...]
    base: str


NOWHERE = Place("", "", "", (), "")


class PageStore(Protocol):
    """Where pages outlive the process. Names are chained: each depends on all tokens before, and on the root."""

    def root(self, fingerprint: Mapping[str, Any]) -> str:
        """What the names of all pages of the same numbers start from."""

    def name(self, parent: str, ids: Ordered[int]) -> str: ...

    def holds(self, name: str) -> bool: ...

    def read_many(self, names: Ordered[str]) -> Iterator[memoryview | None]:
        """Pages in order; None for one that is not there or not what it was."""

    def write(self, name: str, data: bytes | memoryview, used: float, place: Place) -> bool:
        """Whether it is kept: if there is room beside what was used later than `used` (seconds since 1970)."""

    def touch(self, names: Iterable[str], used: float) -> None:
        """Note that these pages, in the order of their tokens, were used at `used`."""

    def forget(self, owner: str, base: str, holds: Holds) -> None:
        """Remove the pages of this owner whose sequences `holds` picks, of the base whose pages start from `base` and
        of all its variants. Raises EngineError."""


@dataclass(frozen=True, slots=True)
class DiskPage:
    """A page on disk that continues a sequence."""

    name: str
    ids: tuple[int, ...]


class DiskPrefixes:
    """The pages of one model, as they were left by engines of the same numbers: see `fingerprint`."""

    def __init__(self, files: PageStore, fingerprint: Callable[[], Mapping[str, Any]], page_tokens: int) -> None:
        """`fingerprint` names all that changes the base's numbers; it is asked for when it is first needed."""
        self.files = files
        self.page_tokens = page_tokens
        self._fingerprint = fingerprint
        self._roots: dict[Scope, str] = {}
        self._reader = ThreadPoolExecutor(1, "ouvert-pages-read")
        self._writer = ThreadPoolExecutor(1, "ouvert-pages-write")

    def root(self, scope: Scope) -> str:
        """The name that those of all pages of this scope start from."""
        if scope not in self._roots:
            whose = {"owner": scope.owner} if scope.owner else {}
            self._roots[scope] = self.files.root({**self._fingerprint(), "variant": scope.variant, **whose})
        return self._roots[scope]

    def base_root(self, owner: str) -> str:
        return self.root(Scope(owner, BASE.digest))

    def name(self, node: Node) -> str:
        """A node's name on disk."""
        if node.name is None:
            before = self.root(node.scope) if node.parent is None else self.name(node.parent)
            node.name = self.files.name(before, node.ids)
        return node.name

    def place(self, node: Node) -> Place:
        root, owner = self.root(node.scope), node.scope.owner
        before = root if node.parent is None else self.name(node.parent)
        return Place(owner, root, before, node.ids, self.base_root(owner))

    def beyond(self, tokens: Ordered[int], nodes: Ordered[Node], scope: Scope) -> list[DiskPage]:
        """This scope's pages on disk that go on with `tokens` where `nodes`, whole pages from the beginning, end."""
        found: list[DiskPage] = []
        parent = self.name(nodes[-1]) if nodes else self.root(scope)
        start = len(nodes) * self.page_tokens
        while start < len(tokens):
            chunk = tuple(tokens[start : start + self.page_tokens])
            for length in range(len(chunk), 0, -1):
                name = self.files.name(parent, chunk[:length])
                if self.files.holds(name):
                    found.append(DiskPage(name, chunk[:length]))
                    break
                if length == self.page_tokens and start + length < len(tokens) - self.page_tokens:
                    return found  # tails are of use near the end only
            else:
                return found
            if length < self.page_tokens:
                return found
            parent, start = name, start + length
        return found

    def fetch(self, wanted: Ordered[DiskPage], each: Callable[[DiskPage, memoryview | None], bool]) -> None:
        """Read in order, and hand over, in the reader's thread; until a page is missing or `each` says to stop.

        The last call is with None, or with the last page wanted.
        """

        def work() -> None:
            pages = self.files.read_many([filed.name for filed in wanted])
            for filed, data in zip(wanted, pages, strict=True):
                if not each(filed, data) or data is None:
                    break

        self._reader.submit(work)

    def save(self, nodes: Ordered[Node], saved: Callable[[Ordered[Node]], object]) -> None:
        """Write what is not there yet. The nodes are in use until `saved` is called, in the writer's thread."""
        path = nodes[-1].path if nodes else []
        names = [self.name(node) for node in path]
        places = [self.place(node) for node in path]
        began, new = time.time(), set(nodes)

        def work() -> None:
            try:
                # What a page continues goes last where room is short: without it nobody finds the page.
                self.files.touch(names, began)
                for n, (node, name) in enumerate(zip(path, names, strict=True)):
                    if node not in new or self.files.holds(name):
                        continue
                    if not self.files.write(name, node.page.read(), began - n * SOONER, places[n]):
                        break  # nobody would find those that continue it
            finally:
                saved(nodes)

        self._writer.submit(work)

    def touch(self, nodes: Ordered[Node]) -> None:
        """Note that these pages were used just now."""
        names = [self.name(node) for node in nodes]
        self._writer.submit(self.files.touch, names, time.time())

    def wait_until_written(self) -> None:
        """What was to be saved until now is, or could not be."""
        self._writer.submit(lambda: None).result()

    def forget(self, holds: Holds, owner: str) -> None:
        """Remove this owner's pages of the sequences that `holds` picks, as `tree.pages_to_forget` says.

        Raises EngineError.
        """
        self._writer.submit(self.files.forget, owner, self.base_root(owner), holds).result()

    def close(self) -> None:
        """What is to be written is written first."""
        self._reader.shutdown(cancel_futures=True)
        self._writer.shutdown()
