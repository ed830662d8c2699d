"""A round's answers as they come: all sides word by word in step, so that nobody is known by their speed."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from ouvert.assistant import BASE, Answer, Finished, TextDelta
from ouvert.serving.callers import Caller
from ouvert.serving.comparisons.opened import Competitor, Question
from ouvert.serving.comparisons.rounds import Round, Side
from ouvert.serving.loaded_models import Lease
from ouvert.serving.sentences import sentence_of
from ouvert.serving.service import Service

LOG = logging.getLogger("ouvert.serving")

USUAL_SECONDS = 0.15  # a word, about as fast as a model of some billion parameters writes on a processor
FEW_WORDS = 3
LONG_WORD = 24  # characters: scripts without spaces come in pieces of this length
WORD = re.compile(rf"\s*\S+\s+|\s*\S{{{LONG_WORD}}}")
FAILED = "One side could not answer. The owner of this server finds why in its log."


class SideTask:
    """One competitor's answer; keeps it, for its tokens."""

    choices, variant = 1, BASE

    def __init__(self, question: Question, competitor: Competitor, timeout: float | None, asker: str) -> None:
        self.model = str(competitor.model)
        self.answer: Answer | None = None
        self._question, self._competitor = question, competitor
        self._timeout, self._asker = timeout, asker

    def start(self, lease: Lease, number: int) -> Answer:
        request = self._question.request_to(self._competitor, lease.model)
        request = replace(request, timeout=self._timeout, asker=self._asker)
        self.answer = lease.model.answer(lease.asked(request))
        return self.answer


class Answering:
    """The answers of one round, written whether they are read or not, until `close`."""

    def __init__(self, service: Service, caller: Caller, round_: Round) -> None:
        self._service, self._caller, self._round = service, caller, round_
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._write())

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The round; then the next words of every side, None of one that has ended; then how it ended."""
        while (event := await self._events.get()) is not None:
            yield event

    async def close(self) -> None:
        """End what is still being written. Raises nothing."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _write(self) -> None:
        round_ = self._round
        self._events.put_nowait(round_.facts())
        try:
            sides = [self._words(side) for side in round_.sides]
            async with aclosing(in_step(sides, usual=0.0 if self._is_recorded else USUAL_SECONDS)) as steps:
                async for words in steps:
                    if any(side.failed for side in round_.sides):
                        break
                    for side, word in zip(round_.sides, words, strict=True):
                        side.text += word or ""
                    self._events.put_nowait({"words": words})
        except BaseException:  # the reader has gone: nobody has seen the answers
            round_.sides[0].failed = True
            raise
        finally:
            round_.end()
            fault = {"fault": FAILED} if round_.state == "failed" else {}
            self._events.put_nowait({"done": True, **round_.facts(), **fault})
            self._events.put_nowait(None)

    @property
    def _is_recorded(self) -> bool:
        """Whether nobody writes: then there is no speed to hide."""
        return all(side.competitor.label in self._round.question.answers for side in self._round.sides)

    async def _words(self, side: Side) -> AsyncGenerator[str, None]:
        """Of the recorded answer if there is one. What goes wrong is said to the owner alone: it would tell names."""
        recorded = self._round.question.answers.get(side.competitor.label)
        if recorded is not None:
            side.reason, side.ids = recorded.reason, recorded.ids
            for word in words_of(recorded.text):
                yield word
            return
        try:
            async with aclosing(self._written(side)) as pieces:
                async for word in by_words(pieces):
                    yield word
        except Exception as problem:
            side.failed = True
            LOG.warning("comparison: %s could not answer: %s", side.competitor.label, sentence_of(problem))

    async def _written(self, side: Side) -> AsyncGenerator[str, None]:
        service, caller = self._service, self._caller
        task = SideTask(self._round.question, side.competitor, service.settings.answer_seconds, caller.whose)
        answer = await service.begin(task, caller, f"side-{secrets.token_hex(12)}")
        try:
            async for _, event in answer:
                if isinstance(event, TextDelta):
                    yield event.text
                elif isinstance(event, Finished):
                    side.reason = event.reason
            if task.answer is not None:
                side.prompt_ids, side.ids = tuple(task.answer.prompt_ids), tuple(task.answer.token_ids)
        finally:
            await answer.close()


async def in_step(sources: Sequence[AsyncGenerator[str, None]], usual: float) -> AsyncGenerator[list[str | None], None]:
    """The next word of every source, when all of them have it; None of one that has ended.

    Once one has ended, the others go on no faster than before: a rest that was written long ago would tell who is
    quick. `usual`: seconds a word, where the first ended too early to tell. The sources are closed in the end.
    """
    writing = dict(enumerate(sources))
    tasks: list[asyncio.Task[str | None]] = []
    pace = Pace(usual)
    try:
        while writing:
            tasks = [asyncio.create_task(following(source)) for source in writing.values()]
            found = await asyncio.gather(*tasks)
            await pace.keep(all_write=len(writing) == len(sources) and None not in found)
            words = dict(zip(writing, found, strict=True))
            writing = {n: source for n, source in writing.items() if words[n] is not None}
            if writing:
                yield [words.get(n) for n in range(len(sources))]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for source in sources:
            await source.aclose()


class Pace:
    """How long a word takes, on average, while all sides write; `usual` seconds before that is known."""

    def __init__(self, usual: float) -> None:
        self._last, self._usual = time.monotonic(), usual
        self._seconds, self._words = 0.0, -1  # the first word, which waits for the prompts, does not count

    async def keep(self, *, all_write: bool) -> None:
        """Returns no sooner than a word takes, once one side has ended."""
        passed = time.monotonic() - self._last
        if all_write:
            self._seconds += passed if self._words >= 0 else 0.0
            self._words += 1
        else:
            seconds = self._seconds / self._words if self._words >= FEW_WORDS else self._usual
            await asyncio.sleep(max(0.0, seconds - passed))
        self._last = time.monotonic()


async def following(source: AsyncIterator[str]) -> str | None:
    async for word in source:
        return word
    return None


def words_of(text: str) -> list[str]:
    """Words with the white space around them; together they are the text."""
    words = [found[0] for found in WORD.finditer(text)]
    rest = text[sum(map(len, words)) :]
    return [*words, rest] if rest else words


async def by_words(pieces: AsyncIterator[str]) -> AsyncIterator[str]:
    """The same text, word by word."""
    rest = ""
    async for piece in pieces:
        rest += piece
        words = words_of(rest)
        rest = words.pop() if words else ""
        if WORD.fullmatch(rest):
            words.append(rest)
            rest = ""
        for word in words:
            yield word
    if rest:
        yield rest
