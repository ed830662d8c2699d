"""Answers as they are written: tokens are chosen and handed out, until each answer ends in one way or another."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ouvert.engine.caches import Caches
from ouvert.engine.interface import EngineError, EngineFaultError, Token
from ouvert.engine.queues import Queues
from ouvert.engine.request import Reason, Request
from ouvert.engine.runners.nonfinite import Locate
from ouvert.engine.sampler import NotFiniteError, choose_all, report_all
from ouvert.engine.variant import BASE

LOG = logging.getLogger("ouvert.engine")


class Answers:
    """`tokens`: how many were handed out since the engine was opened."""

    def __init__(self, caches: Caches, queues: Queues, locate: Locate | None) -> None:
        """`locate(ids)` says in which layer the base's numbers break, if they do."""
        self.tokens = 0
        self._caches, self._queues, self._locate = caches, queues, locate

    def go_on(self, ready: Sequence[tuple[Request, np.ndarray]]) -> None:
        """The next token of each, after its row of logits. Whatever a constraint raises ends its own answer and no
        other."""
        asked: list[tuple[Request, np.ndarray]] = []
        masks: list[np.ndarray | None] = []
        for request, row in ready:
            try:
                if request.complete:  # before its first token: the constraint allows nothing but an empty answer
                    self.end(request, "stop")
                    continue
                masks.append(request.allowed())
            except BaseException as problem:  # a panic of a library in Rust is no Exception
                self.fail(request, problem, "following a constraint")
                continue
            asked.append((request, row))
        if not asked:
            return
        chosen = choose_all([row for _, row in asked], [request.sampler for request, _ in asked], masks)
        for (request, _), token in zip(asked, chosen, strict=True):
            if isinstance(token, EngineError):
                self.fail(request, self._explained(token, request))
                continue
            try:
                self._hand_out(request, token)
            except BaseException as problem:  # as above
                self.fail(request, problem, "following a constraint")

    def report(self, request: Request, rows: np.ndarray) -> None:
        """The next tokens of a text that is scored, after these rows of logits."""
        scoring = request.scoring
        if scoring is None:
            raise AssertionError("rows of logits were computed for an answer")
        first = request.next_row + 1
        try:
            scoring.found += report_all(rows, scoring.ids[first : first + len(rows)], scoring.top)
        except Exception as problem:
            fault = EngineFaultError.of("scoring a text", problem)
            self.fail(request, self._explained(fault, request), "scoring a text")

    def end(self, request: Request, reason: Reason) -> None:
        """What it computed is kept, but for tokens that were scored: those nobody begins with."""
        if request.scoring is None:
            self._caches.keep(request)
        self._leave(request, reason)

    def fail(self, request: Request, problem: BaseException, operation: str = "answering") -> None:
        """Its caches may not hold what they are said to hold, so nothing of them is kept."""
        fault = EngineFaultError.of(operation, problem)
        if isinstance(fault, EngineFaultError):
            LOG.error("an answer ended by a fault of the program, %s", operation, exc_info=problem)
        self._leave(request, "cancelled", fault)

    def _leave(self, request: Request, reason: Reason, error: EngineError | None = None) -> None:
        """The one way out of the engine."""
        self._caches.release(request)
        self._queues.remove(request)
        request.end(reason, error)

    def _hand_out(self, request: Request, token: Token) -> None:
        """Raises what the constraint raises where it cannot follow."""
        stops = token.id in request.sampling.stop_ids
        if request.constraint_state is not None and not stops:
            request.constraint_state.advance(token.id)
        request.tokens.append(token.id)
        self.tokens += 1
        if request.watched:
            token = replace(token, seen=request.seen)
        request.out.put(token)
        if (reason := request.outcome) is not None:
            self.end(request, reason)

    def _explained(self, problem: EngineError, request: Request) -> EngineError:
        """The error; if logits were not finite, with the layer where that began, if it can be found."""
        if not isinstance(problem, NotFiniteError) or self._locate is None or request.variant != BASE:
            return problem
        try:
            layer = self._locate(request.tokens[: request.cached])
        except Exception:  # the error says less, and that is all
            LOG.exception("finding the layer whose numbers are not finite")
            return problem
        if layer is None:
            return problem
        return NotFiniteError(f"{problem} The first value that is not a finite number is {layer}.")
