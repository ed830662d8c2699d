"""Beginnings of sequences, kept in memory for those that begin alike: a radix tree over pages.

Every scope has a tree of its own: what was left in one is never found in another.

A node is a page: what up to `page_tokens` tokens left in the caches, after the tokens of the nodes above it. Only whole
pages have nodes below them; the last page of a sequence may be a part of one. The tree shares its pages with the
sequences that use them; nothing in it is ever written to.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from typing import TypeVar

from ouvert.engine.prefixes.scope import Scope
from ouvert.engine.runners.interface import RunnerPage


@dataclass(eq=False, slots=True)
class Node:
    """`users`: sequences, and whoever else, that would rather not see it go."""

    ids: tuple[int, ...]
    page: RunnerPage
    parent: "Node | None"
    scope: Scope
    children: dict[int, list["Node"]] = field(default_factory=dict)  # by their first token
    users: int = 0
    name: str | None = None  # on disk, once anybody asked
    saved: bool = False  # it is on disk, or on its way there

    @property
    def path(self) -> list["Node"]:
        """The nodes from the first page to this one."""
        path = [self]
        while (parent := path[-1].parent) is not None:
            path.append(parent)
        return path[::-1]


@dataclass(frozen=True, slots=True)
class Match:
    """Nodes from the beginning, and how many tokens they hold that were looked for: of the last, perhaps not all."""

    nodes: list[Node]
    tokens: int


def shared_length(one: Ordered[int], other: Ordered[int]) -> int:
    """How many tokens both begin with."""
    same, most = 0, min(len(one), len(other))
    while same < most:  # halves are compared whole, which is quicker than token by token
        middle = (same + most + 1) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            most = middle - 1
    return same


Key = TypeVar("Key", bound=Hashable)


# Of a token's key: it was computed in the expanded form (docs/decisions/0012). No vocabulary has so many tokens.
EXPANDED = 1 << 40


def tokens_of(keys: Ordered[int]) -> list[int]:
    """The tokens that are kept under these keys."""
    return [key % EXPANDED for key in keys]


def pages_to_forget(
    pages: Mapping[Key, tuple[Key | None, Ordered[int]]], holds: Callable[[Ordered[int]], bool]
) -> set[Key]:
    """Which pages go, so that nothing is left of what `holds` finds in the tokens of a sequence.

    `pages`: key -> (key of the page before; None at the beginning, and the tokens). Of sequences in which it is found
    all pages go, but for beginnings that a sequence without it has too. So do pages that hold a beginning of one that
    goes, left when less of the sequence was there; and pages after one that is missing: nobody reaches them, and nobody
    knows what they follow.
    """
    staying: set[Key] = set()
    for end in pages.keys() - {parent for parent, _ in pages.values()}:
        path = [end]
        while (parent := pages[path[-1]][0]) is not None and parent in pages:
            path.append(parent)
        if parent is None and not holds(tokens_of([token for key in reversed(path) for token in pages[key][1]])):
            staying.update(path)
    going = pages.keys() - staying
    gone: dict[Key | None, list[Ordered[int]]] = {}  # by the page before
    for parent, ids in (pages[key] for key in going):
        gone.setdefault(parent, []).append(ids)
    beginnings = {
        key for key in staying if any(ids[: len(pages[key][1])] == pages[key][1] for ids in gone.get(pages[key][0], ()))
    }
    return going | beginnings


class PrefixTree:
    """Not for use from several threads at once."""

    def __init__(self, page_tokens: int) -> None:
        self.page_tokens = page_tokens
        self.bytes = 0  # of all pages
        self.bytes_unused = 0  # of those that have no users
        self._tops: dict[Scope, dict[int, list[Node]]] = {}  # first pages of each scope, by their first token
        self._order: OrderedDict[Node, None] = OrderedDict()  # least recently used first, children before parents

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._order)

    def match(self, ids: Ordered[int], scope: Scope) -> Match:
        """The longest beginning of `ids` that is kept in this scope."""
        nodes: list[Node] = []
        tokens = 0
        below = self._tops.get(scope, {})
        while tokens < len(ids):
            chunk = tuple(ids[tokens : tokens + self.page_tokens])
            candidates = below.get(chunk[0], ())
            best = max(candidates, key=lambda node: shared_length(node.ids, chunk), default=None)
            if best is None:
                break
            nodes.append(best)
            same = shared_length(best.ids, chunk)
            tokens += same
            if same < self.page_tokens:
                break
            below = best.children
        self._touch(nodes)
        return Match(nodes, tokens)

    def insert(self, ids: Ordered[int], page: Callable[[int], RunnerPage], scope: Scope) -> list[Node]:
        """Keep what `ids` left. `page(n)` gives the n-th page, asked for only where it is needed.

        Returns the nodes that hold `ids` from the beginning. The last of them may hold more tokens than were given.
        """
        nodes: list[Node] = []
        for n in range(-(-len(ids) // self.page_tokens)):
            chunk = tuple(ids[n * self.page_tokens : (n + 1) * self.page_tokens])
            parent = nodes[-1] if nodes else None
            siblings = self._below(parent, scope).setdefault(chunk[0], [])
            node = next((each for each in siblings if each.ids[: len(chunk)] == chunk), None)
            if node is None:
                for shorter in [each for each in siblings if each.ids == chunk[: len(each.ids)] and not each.users]:
                    self._remove(shorter)
                siblings = self._below(parent, scope).setdefault(chunk[0], [])  # the last of them may have gone
                node = Node(chunk, page(n), parent, scope)
                siblings.append(node)
                self._order[node] = None
                self.bytes += node.page.nbytes
                self.bytes_unused += node.page.nbytes
            nodes.append(node)
        self._touch(nodes)
        return nodes

    def use(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.users == 0:
                self.bytes_unused -= node.page.nbytes
            node.users += 1

    def release(self, nodes: Iterable[Node]) -> None:
        """What `use` was called with before. A node that was evicted meanwhile is no longer counted."""
        for node in nodes:
            node.users -= 1
            if node.users == 0 and node in self._order:
                self.bytes_unused += node.page.nbytes

    def evict(self, bytes_wanted: int, *, even_used: bool = False) -> int:
        """Let go of the least recently used pages without users until so many bytes are free. Returns those freed.

        `even_used`: those with users too. Who uses them keeps its own hold of their blocks, so less may be freed.
        """
        freed = 0
        while freed < bytes_wanted:
            leaf = next((n for n in self._order if not n.children and (even_used or not n.users)), None)
            if leaf is None:
                break
            freed += leaf.page.nbytes
            self._remove(leaf)
        return freed

    def forget(self, holds: Callable[[Ordered[int]], bool], scope: Scope) -> None:
        """Remove the pages of this scope that `pages_to_forget` picks. Those in use leave the tree as well; whoever
        uses them keeps them until the end of its work."""
        pages = {node: (node.parent, node.ids) for node in self._order if node.scope == scope}
        going = pages_to_forget(pages, holds)
        for node in [each for each in self._order if each in going]:  # ends before what they continue
            self._remove(node)

    @property
    def scopes(self) -> tuple[Scope, ...]:
        return tuple(self._tops)

    def __contains__(self, node: Node) -> bool:
        return node in self._order

    def clear(self) -> None:
        self.evict(self.bytes + 1, even_used=True)

    def _touch(self, nodes: list[Node]) -> None:
        for node in reversed(nodes):
            self._order.move_to_end(node)

    def _below(self, parent: Node | None, scope: Scope) -> dict[int, list[Node]]:
        """The nodes that continue `parent`, or of a scope's first pages, by their first token."""
        return self._tops.setdefault(scope, {}) if parent is None else parent.children

    def _remove(self, node: Node) -> None:
        below = self._below(node.parent, node.scope)
        siblings = below[node.ids[0]]
        siblings.remove(node)
        if not siblings:
            del below[node.ids[0]]
        if not self._tops.get(node.scope, True):
            del self._tops[node.scope]
        del self._order[node]
        self.bytes -= node.page.nbytes
        if node.users == 0:
            self.bytes_unused -= node.page.nbytes
        node.page.close()
