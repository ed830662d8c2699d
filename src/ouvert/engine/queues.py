"""The requests that an engine has taken in, oldest first, and which of them waits for what another is reading."""

import time
from bisect import insort
from collections.abc import Callable, Iterator, Sequence

from ouvert.engine.prefixes.tree import shared_length
from ouvert.engine.request import Reason, Request


class Queues:
    """`running`: requests whose prompt is read, and whose answers are in progress. `waiting`: the others."""

    def __init__(self, page_tokens: int, kept: Callable[[Request], int]) -> None:
        """`kept`: how many tokens of a request's prompt are kept already."""
        self.running: list[Request] = []
        self.waiting: list[Request] = []
        self._page_tokens, self._kept = page_tokens, kept

    def __iter__(self) -> Iterator[Request]:
        """The running requests, then the waiting ones, as they are now: later changes do not show in the iteration."""
        return iter((*self.running, *self.waiting))

    def find(self, number: int) -> Request:
        return next(each for each in self if each.id == number)

    def add(self, request: Request) -> None:
        self._wait_behind(request, self.waiting)
        insort(self.waiting, request, key=lambda each: each.place)

    def run(self, request: Request) -> None:
        """Move a request whose prompt is read to those that run."""
        self.waiting.remove(request)
        insort(self.running, request, key=lambda each: each.id)

    def wait_again(self, request: Request) -> None:
        """Put a running request back in its old place among those that wait."""
        if request in self.running:
            self.running.remove(request)
            insort(self.waiting, request, key=lambda each: each.place)

    def remove(self, request: Request) -> None:
        for queue in (self.running, self.waiting):
            if request in queue:
                queue.remove(request)
        if request.read is None:  # it left before it had read: the oldest of those behind it reads in its place
            followers = [each for each in self.waiting if each.behind is request]
            for follower in followers:
                follower.behind = None
            for follower in followers[1:]:
                self._wait_behind(follower, followers[:1])

    def ended_from_outside(self) -> list[tuple[Request, Reason]]:
        """The requests that were cancelled, and those whose time is over."""
        now = time.perf_counter()
        cancelled: list[tuple[Request, Reason]] = [(each, "cancelled") for each in self if each.cancelled.is_set()]
        late = [each for each in self if each.deadline is not None and now >= each.deadline]
        return cancelled + [(each, "timeout") for each in late if not each.cancelled.is_set()]

    @property
    def seconds_to_deadline(self) -> float | None:
        """Seconds until the next request's time is over; None if none has a limit."""
        deadlines = [each.deadline for each in self if each.deadline is not None]
        return min(deadlines) - time.perf_counter() if deadlines else None

    def is_behind(self, request: Request) -> bool:
        """Whether it has to wait for another to read what both start with, or for pages from the disk."""
        reader = request.behind
        if reader is not None and (reader.read is not None or reader not in self.waiting):
            request.behind = None
        return request.behind is not None or request.is_fetching

    def _wait_behind(self, request: Request, others: Sequence[Request]) -> None:
        """Behind the one of `others`, who wait and are older, that reads the most of what both begin with: if that is a
        page more than what is kept already, or half of what there is to read. Never behind one of another scope, nor an
        answer behind a text that is scored: that one's turn comes last."""
        start = request.reusable
        theirs = [each for each in others if each.scope == request.scope and each.leaves and each.place < request.place]
        reader = max(theirs, key=lambda each: shared_length(each.left, start), default=None)
        if reader is None:
            return
        kept = self._kept(request)
        more = shared_length(reader.left, start) - kept
        if more >= self._page_tokens or (more > 0 and 2 * more >= len(start) - kept):
            request.behind = reader
