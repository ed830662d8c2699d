"""Beginnings of sequences that are kept: in memory within a limit, and on disk where there is one."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ouvert.engine.limits import Limits
from ouvert.engine.prefixes.disk import WORTH_FETCHING, WORTH_SAVING, DiskPage, DiskPrefixes
from ouvert.engine.prefixes.scope import Scope
from ouvert.engine.prefixes.tree import Match, Node, PrefixTree
from ouvert.engine.runners.interface import Runner, RunnerSequence

LOG = logging.getLogger("ouvert.engine")


@dataclass(eq=False, slots=True)
class Fetch:
    """Pages on their way from the disk into memory, one by one. `nodes` are there already, from the beginning on.

    `wanted`: to be set to False by who no longer needs them. `over`: nothing more comes.
    """

    nodes: list[Node]
    scope: Scope
    wanted: bool = True
    over: bool = False


class KeptPrefixes:
    """The pages of a runner's sequences. Not for use from several threads at once."""

    def __init__(
        self, runner: Runner, disk: DiskPrefixes | None, limits: Limits, post: Callable[[Callable[[], object]], bool]
    ) -> None:
        """`post` runs a task in the thread that uses this object; False where none is needed any more."""
        self.tree = PrefixTree(runner.page_tokens)
        self.disk = disk
        self.limits = limits
        self._runner, self._post = runner, post

    @property
    def free(self) -> int:
        """Bytes that caches may still take: what nobody uses is let go when it comes to it."""
        return self.limit - self._runner.cache_bytes_in_use + self.tree.bytes_unused

    @property
    def limit(self) -> int:
        """Bytes that caches may take beside the adapters that are here now. Raises nothing."""
        return self.limits.caches_beside(self._runner.adapters.nbytes)

    def make_room(self, wanted: int) -> bool:
        """Let go of what nobody uses until so many bytes are free. False if they are not even then."""
        while (short := wanted - (self.limit - self._runner.cache_bytes_in_use)) > 0:
            if not self.tree.evict(short):
                return False
        return True

    def trim(self) -> None:
        """Let go of what nobody uses beyond the limit."""
        if self.tree.bytes_unused > self.limits.kept_bytes:
            self.tree.evict(self.tree.bytes_unused - self.limits.kept_bytes)

    def keep(self, ids: Sequence[int], sequence: RunnerSequence, scope: Scope, *, files: bool = True) -> list[Node]:
        """The nodes of what `sequence` holds of these tokens; with `files` it is written to disk as well. No nodes
        where there is no memory for it: then it is not kept."""
        try:
            nodes = self.tree.insert(ids, sequence.page, scope)
        except MemoryError:
            LOG.warning("no memory to keep the caches of %d tokens: who begins alike computes them again", len(ids))
            return []
        if files and self.disk is not None and len(ids) >= WORTH_SAVING:
            new = [node for node in nodes if not node.saved]
            for node in new:
                node.saved = True
            self.tree.use(new)
            self.disk.save(new, lambda done: self._post(lambda: self.tree.release(done)))
        return nodes

    def used(self, nodes: Sequence[Node]) -> None:
        """A sequence goes on from these: on disk they count as used now."""
        if self.disk is not None and (saved := [node for node in nodes if node.saved]):
            self.disk.touch(saved)

    def forget(self, holds: Callable[[Sequence[int]], bool], whose: Callable[[str], bool]) -> None:
        """Let go, in memory, of what `PrefixTree.forget` picks of every variant of these owners."""
        if self.disk is not None:
            self.disk.wait_until_written()  # what is being written is being read
        for scope in self.tree.scopes:
            if whose(scope.owner):
                self.tree.forget(holds, scope)

    # --- from the disk ------------------------------------------------------------------------------------------------

    def fetch(self, tokens: Sequence[int], match: Match, scope: Scope) -> Fetch | None:
        """Begin to bring to memory what the disk has of these tokens beyond what matches there. None if it is not worth
        it."""
        if self.disk is None:
            return None
        page_tokens = self.tree.page_tokens
        whole = match.nodes[: match.tokens // page_tokens]
        filed = self.disk.beyond(tokens, whole, scope)
        held = len(whole) * page_tokens + sum(len(each.ids) for each in filed)
        if held - match.tokens < WORTH_FETCHING:
            return None
        fetch = Fetch(list(whole), scope)
        self.tree.use(whole)

        def read(page: DiskPage, data: memoryview | None) -> bool:
            """Called in the reader's thread."""
            return self._post(lambda: self._place(fetch, page, data, page is filed[-1])) and not fetch.over

        self.disk.fetch(filed, read)
        return fetch

    def _place(self, fetch: Fetch, page: DiskPage, data: memoryview | None, last: bool) -> None:
        """The next page of a fetch is read, or is not there."""
        if fetch.over:
            return  # one before it could not be placed
        placed = fetch.wanted and data is not None and self._placed(fetch, page.ids, data)
        if last or not placed:
            fetch.over = True
            self.tree.release(fetch.nodes)

    def _placed(self, fetch: Fetch, ids: tuple[int, ...], data: memoryview) -> bool:
        """The page goes into the tree, after the fetch's nodes, and becomes the last of them. False without room, or if
        it would follow one that was let go of meanwhile."""
        nodes = fetch.nodes
        if nodes and nodes[-1] not in self.tree:
            return False
        path = [token for node in nodes for token in node.ids] + list(ids)
        try:
            self.make_room(self._runner.page_bytes)
            found = self.tree.insert(path, lambda _: self._runner.page_from(data), fetch.scope)
        except MemoryError:
            return False
        self.tree.use(found[-1:])
        found[-1].saved = True
        nodes.append(found[-1])
        return True
