"""Several engines behind the engine's interface."""

import itertools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ouvert.engine.asked import NoAdapters, check_beginning, checked_starts, refuse_adapters
from ouvert.engine.interface import (
    Engine,
    EngineBusyError,
    EngineError,
    EngineFacts,
    EngineUnreachableError,
    Load,
    Sampling,
    Token,
)
from ouvert.engine.pool.generation import LOST, PoolGeneration, PoolRequest, Rules
from ouvert.engine.pool.members import Members
from ouvert.engine.pool.placing import divided, ranked
from ouvert.engine.variant import BASE, Variant

Result = TypeVar("Result")


def nothing() -> None:
    """What is done at the end of a pool whose members are others' to end."""


class PoolEngine:
    """`interface.Engine` over members. Its methods and properties mean what those of `Engine` mean and raise what those
    raise; EngineUnreachableError where no member is to be had.

    Answers are the members' own. Where one is lost while it writes, another goes on behind the last token, with the
    same tokens if it has the same identity; `Stopped.parts` says who wrote what.
    """

    def __init__(
        self,
        members: Members,
        rules: Rules = Rules(),  # noqa: B008 - a value that never changes
        on_close: Callable[[], None] = nothing,
    ) -> None:
        self.members, self.rules, self._on_close = members, rules, on_close
        self._facts: EngineFacts | None = None
        self._prompt_tokens = self._output_tokens = 0
        self._counted = itertools.count(1)

    @property
    def context(self) -> int:
        """That of the member with the smallest: every answer can go on at every member."""
        return min(engine.context for engine in self._opened)

    @property
    def vocabulary_size(self) -> int:
        return self._opened[0].vocabulary_size

    @property
    def embedding_size(self) -> int | None:
        return self._opened[0].embedding_size

    @property
    def adapters(self) -> NoAdapters:
        return NoAdapters()

    @property
    def facts(self) -> EngineFacts:
        """Those of the first member that is in."""
        return (self.members.engines or self._opened)[0].facts

    @property
    def failure(self) -> str | None:
        """Members that are out come back by themselves: the pool itself does not fail."""
        return None

    @property
    def load(self) -> Load:
        """What was asked from here."""
        members = self.members.loads()
        return Load(
            running=sum(each.running for each in members),
            waiting=0,
            cache_bytes=0,
            cache_limit=0,
            kept_bytes=0,
            steps=0,
            prompt_tokens=self._prompt_tokens,
            reused_tokens=0,
            output_tokens=self._output_tokens,
            members=members,
        )

    @property
    def shown(self) -> Mapping[str, int]:
        """What all members show: every answer can go on at every member."""
        first, *others = (engine.shown for engine in self._opened)
        return {name: width for name, width in first.items() if all(each.get(name) == width for each in others)}

    def generate(
        self,
        ids: Sequence[int],
        sampling: Sampling,
        variant: Variant = BASE,
        *,
        written: Sequence[int] = (),
        first_turn: int = 0,
        timeout: float | None = None,
        owner: str = "",
    ) -> PoolGeneration:
        """A seed that nobody chose is chosen here, so that the answer can go on elsewhere."""
        refuse_adapters(variant)
        check_beginning(ids, written, sampling)
        if sampling.seed is None:
            sampling = replace(sampling, seed=secrets.randbits(32))
        request = PoolRequest(
            ids=tuple(int(i) for i in ids),
            sampling=sampling,
            variant=variant,
            written=tuple(int(i) for i in written),
            owner=owner,
            deadline=None if timeout is None else time.monotonic() + timeout,
        )
        generation = PoolGeneration(self.members, self.rules, request, self._count_token)
        self._prompt_tokens += len(request.ids)
        return generation

    def check_weights(self) -> str | None:
        """What the first member that is in says of its own."""
        engines = self.members.engines
        return engines[0].check_weights() if engines else None

    def logits(self, ids: Sequence[int], variant: Variant = BASE, *, start: int = 0) -> np.ndarray:
        refuse_adapters(variant)
        return self._asked(self._ranked(ids), lambda engine: engine.logits(ids, variant, start=start))

    def score(self, ids: Sequence[int], top: int = 0, variant: Variant = BASE) -> list[Token]:
        return self.score_all([ids], top, variant)[0]

    def score_all(
        self,
        texts: Sequence[Sequence[int]],
        top: int = 0,
        variant: Variant = BASE,
        *,
        starts: Sequence[int] | None = None,
        owner: str = "",
    ) -> list[list[Token]]:
        """Divided among the members that are in and of one identity; what begins alike stays together."""
        refuse_adapters(variant)
        given, places = [list(map(int, ids)) for ids in texts], checked_starts(texts, starts)
        ranking = self._ranked(given[0] if given else (), owner)
        identity, alike = self.members.alike(ranking)
        found: list[list[Token]] = [[] for _ in given]

        def ask(turn: int, numbers: Sequence[int]) -> None:
            mine, its = [given[n] for n in numbers], [places[n] for n in numbers]
            scored = self._asked(
                sorted(ranking, key=lambda name: name != alike[turn]) if alike else ranking,
                lambda engine: engine.score_all(mine, top, variant, starts=its, owner=owner),
                identity,
            )
            for n, tokens in zip(numbers, scored, strict=True):
                found[n] = tokens

        parts = divided(given, max(1, len(alike)))
        with ThreadPoolExecutor(max(1, len(parts)), thread_name_prefix="ouvert-scoring") as pool:
            for each in [pool.submit(ask, turn, numbers) for turn, numbers in enumerate(parts)]:
                each.result()
        return found

    def embed(self, texts: Sequence[Sequence[int]], variant: Variant = BASE) -> np.ndarray:
        refuse_adapters(variant)
        first = texts[0] if texts else ()
        return self._asked(self._ranked(first), lambda engine: engine.embed(texts, variant))

    def forget(self, holds: Callable[[Sequence[int]], bool], owner: str = "") -> str | None:
        """Every member that is in forgets. One that is out, or cannot be told, is told when it is in again: then all of
        this owner's prompts go there."""
        self.members.forget(holds, owner)
        return None

    def give_way(self, between: Callable[[], None] | None) -> None:
        for engine in self._opened:
            engine.give_way(between)

    def forget_all(self) -> None:
        for engine in self._opened:
            engine.forget_all()

    def close(self) -> None:
        """Let go of the members, which go on, unless `on_close` ends them. May be called twice."""
        self.members.close()
        self._on_close()

    def moved(self, name: str) -> None:
        """The member of that name is at another address now. Its answers go on elsewhere. Raises nothing."""
        self.members.moved(name)

    @property
    def _opened(self) -> list[Engine]:
        """Every member that was in at some time: one at least."""
        return [member.engine for member in self.members if member.engine is not None]

    def _ranked(self, ids: Sequence[int], owner: str = "") -> list[str]:
        return ranked(self.members.names, ids, owner)

    def _asked(self, ranking: Sequence[str], ask: Callable[[Engine], Result], identity: str = "") -> Result:
        """What the first member says that can be asked; one of this identity, as long as there is one."""
        tried = frozenset[str]()
        problem: EngineError = EngineUnreachableError(
            "asking a pool: none of its members is in. The log says why; ask again when one is."
        )
        overflow = self.rules.overflow
        while (taken := self.members.take(ranking, overflow=overflow, tried=tried, identity=identity)) is not None:
            member, engine = taken
            try:
                return ask(engine)
            except (*LOST, EngineBusyError) as found:
                problem, tried = found, tried | {member.name}
                if not isinstance(found, EngineBusyError):
                    self.members.failed(member, engine, found)
            finally:
                self.members.give_back(member)
        raise problem

    def _count_token(self) -> None:
        self._output_tokens = next(self._counted)
