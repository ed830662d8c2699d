"""Prompts whose turn comes: each gets a sequence, with whatever is kept of its beginning."""

import sys
import time

from ouvert.engine.answers import Answers
from ouvert.engine.caches import Caches
from ouvert.engine.prefixes.disk import WORTH_SAVING
from ouvert.engine.prefixes.tree import Match
from ouvert.engine.queues import Queues
from ouvert.engine.request import Request
from ouvert.engine.runners.interface import Runner, RunnerSequence


class Prompts:
    """`tokens` of prompts were begun since the engine was opened, of which `reused` came from a cache."""

    def __init__(self, runner: Runner, caches: Caches, queues: Queues, answers: Answers) -> None:
        self.tokens = self.reused = 0
        self._runner, self._caches, self._queues, self._answers = runner, caches, queues, answers
        self._kept = caches.kept

    def begin(self, budget: int) -> None:
        """Give sequences to the prompts whose turn may come in a step of so many tokens."""
        growth = self._caches.growth
        free = self._kept.free - sum(growth(each.cached, each.cached + 1) for each in self._queues.running)
        first = True
        for request in list(self._queues.waiting):
            if budget <= 0:
                break
            if self._queues.is_behind(request):
                continue
            cost = growth(request.cached, len(request.tokens) + 1)
            if request.sequence is None:
                cost += self._cost_of_resuming(self._match(request))
                if not first and cost > free:
                    break
                if not self._begun(request):
                    continue
            first = False
            budget -= request.piece
            free -= cost

    def _match(self, request: Request) -> Match:
        """What is kept in memory of its tokens, before the first whose logits are needed: that is always computed."""
        return self._kept.tree.match(request.reusable, request.scope)

    def _cost_of_resuming(self, match: Match) -> int:
        """Bytes that can no longer make room for others; of the last page it may need a copy of its own."""
        unused = sum(node.page.nbytes for node in match.nodes if not node.users)
        return unused + self._runner.page_bytes - self._runner.cache_bytes(match.tokens)

    def _begun(self, request: Request) -> bool:
        """`_begin`; a fault there ends this request, and not the engine."""
        try:
            return self._begin(request)
        except Exception as problem:
            self._answers.fail(request, problem, "beginning an answer")
            return False

    def _begin(self, request: Request) -> bool:
        """False if pages have to come from the disk first, or there is no room even to begin."""
        match = self._match(request)
        if not request.asked_disk and len(request.tokens) >= WORTH_SAVING:
            request.asked_disk = True
            request.fetch = self._kept.fetch(request.keys, match, request.scope)
            if request.fetch is not None:
                request.begun = time.perf_counter()
                return False
        sequence = self._resumed(match, request)
        if sequence is None:
            return False
        if request.expanded:
            sequence.expanded = request.expanded
        request.sequence, request.cached = sequence, sequence.length
        request.nodes = match.nodes if sequence.length else []
        self._kept.tree.use(request.nodes)
        if request.reused is None:
            request.begun = time.perf_counter()
            request.reused = request.cached
            self.reused += request.cached
            self.tokens += request.prompt_tokens
            request.tell_reading(request.begun)
        self._kept.used(request.nodes)
        return True

    def _resumed(self, match: Match, request: Request) -> RunnerSequence | None:
        """A sequence that holds what matches, or less; None where there is no room for it."""
        capacity, tree = sys.maxsize, self._kept.tree
        if match.tokens == 0:
            return self._runner.new_sequence(capacity, request.variant)
        tree.use(match.nodes)
        try:
            self._kept.make_room(self._runner.page_bytes)
            pages = [node.page for node in match.nodes]
            return self._runner.resume(pages, match.tokens, capacity, request.variant)
        except MemoryError:
            return None if self._queues.running else self._runner.new_sequence(capacity, request.variant)
        finally:
            tree.release(match.nodes)
