"""What all endpoints share: models, threads, counters, receipts; and the one way to an answer."""

import asyncio
import logging
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from ouvert.assistant import (
    Answer,
    Description,
    EngineError,
    Event,
    Finished,
    Grammar,
    Message,
    Reading,
    Tool,
    Usage,
    describe,
    kept_prefixes,
)
from ouvert.chat import Abilities, Effort
from ouvert.serving.callers import OWNER, Caller
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.keys import KeyFileError, Keys
from ouvert.serving.loaded_models import Catalog, Lease, LoadedModels
from ouvert.serving.metrics import Metrics
from ouvert.serving.response_store import ResponseStore
from ouvert.serving.running import Pullable, Pulled
from ouvert.serving.settings import Settings
from ouvert.store import SILENCE, Installed, Progress, Store

LOG = logging.getLogger("ouvert.serving")

Item = TypeVar("Item")

# What clients call an effort, least first; those that no model has are moved to the nearest.
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
KEY_SECONDS = 0.25  # between looks at whether the keys of running answers still count
CLEARED_SECONDS = 0.5  # between two looks at whether kept pages were cleared
BUSY_SECONDS = 2  # advice to a client that was turned away


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A conversation to be answered, whatever dialect it came in. `effort` is the client's word for it.

    `thinks_unasked`: where neither the request nor the model's name says whether to think, a model that can do either
    does. `sampling` are fields of `Model.sampling`. `schema` is shown to the model where its format can; `grammar` is
    not. Without `strict_schema` what cannot be held to is left out at its own place, and the notes name it.
    `truncates`: where the conversation leaves no room for an answer, its oldest turns may be left out. `progress`:
    Reading events are wanted. `notes`: what of the request cannot be promised, as far as that is known already.
    """

    model: str
    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    parallel: bool = True
    effort: str | None = None
    thinking: bool | None = None
    thinks_unasked: bool = True
    think_budget: int | None = None
    schema: Mapping[str, Any] | None = None
    strict_schema: bool = True
    grammar: Grammar | None = None
    truncates: bool = False
    stop: tuple[str, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    choices: int = 1
    progress: bool = False
    notes: tuple[str, ...] = ()


class Service:
    """One server's belongings. Made inside the event loop that serves."""

    def __init__(self, settings: Settings, store: Store, progress: Progress = SILENCE) -> None:
        """Raises StoreError if a model that is to be served is not here."""
        self.settings = settings
        self.started = time.time()
        # One for all models, so that what is to be forgotten is found also where no model is in memory.
        kept = settings.load_options.get("prefixes", True)
        self.prefixes = (kept_prefixes(store, say=LOG.warning) if kept is True else kept) or None
        self.loaded_models = LoadedModels(
            store,
            Catalog(store, settings.models, only_named=settings.only_these),
            keep=settings.keep,
            memory=settings.memory,
            load_wait=settings.load_wait,
            load_options={"clip_context": True, **settings.load_options, "prefixes": self.prefixes or False},
            progress=progress,
        )
        self.keys = Keys(settings.state)
        if settings.key_required:
            self.keys.require()
        self.metrics = Metrics(lambda: len(self.loaded_models.loaded()), resident_bytes)
        self.receipts = Receipts(settings.kept_receipts)
        self.responses = ResponseStore(settings.stored_responses)
        self.threads = ThreadPoolExecutor(settings.most_answers, thread_name_prefix="ouvert-answer")
        self.in_flight = 0
        self.running: set[Running[Any]] = set()
        self._descriptions: dict[Installed, Description] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def end_answers(self) -> None:
        """End what is being written before its next token; the last events still come."""
        for running in tuple(self.running):
            running.cancel()

    async def watch_keys(self) -> None:
        """End the answers of keys that are revoked, soon after they are, for ever."""
        while True:
            await asyncio.sleep(KEY_SECONDS)
            self.end_answers_of_revoked_keys()

    def end_answers_of_revoked_keys(self) -> None:
        for running in tuple(self.running):
            key = running.caller.key
            try:
                revoked = key is not None and not self.keys.holds(key)
            except KeyFileError:  # nobody new is served meanwhile, and whoever asks is told
                continue
            if revoked:
                running.refuse(
                    Refusal(401, "The key of this request was revoked while it was answered.", code="key_revoked")
                )

    async def close(self) -> None:
        for task in self.responses.tasks():
            task.cancel()
        await asyncio.gather(*self.responses.tasks(), *self._tasks, return_exceptions=True)
        await self.loaded_models.close()
        self.threads.shutdown(wait=True)

    async def borrow(self, name: str, caller: Caller) -> Lease:
        """The model of that name, for this caller. Raises Refusal."""
        self.permitted(name, caller)
        return await self.loaded_models.lend(name, self.owner_of_prefixes(caller))

    def owner_of_prefixes(self, caller: Caller) -> str:
        """Whose kept prefixes a caller's prompts use and add to: each key has its own, unless the owner shares them."""
        return OWNER if self.settings.share_prefixes else caller.whose

    async def forget(self, texts: Sequence[str] | None, caller: Caller) -> None:
        """Remove what is kept of this caller's prompts, and of the thoughts in their answers, where one of `texts`
        stands in it; all of it if that is None: in memory and on disk. Of models that are not in memory all pages go:
        only a model can read its tokens. Raises Refusal for what cannot be removed.
        """
        owner = self.owner_of_prefixes(caller)
        changing = self.loaded_models.changing
        await asyncio.to_thread(self._forget, texts, owner, caller.whose)
        if changing:  # a model that was on its way out has written what it still had to write
            task = asyncio.create_task(self._forget_when_settled(texts, owner, caller.whose))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forget_when_settled(self, texts: Sequence[str] | None, owner: str, asker: str) -> None:
        await self.loaded_models.settled()
        try:
            await asyncio.to_thread(self._forget, texts, owner, asker)
        except Refusal as refusal:
            LOG.error("%s", refusal.message)

    async def watch_cleared(self) -> None:
        """When all kept pages on disk are removed, by whatever process, let go of those in memory too. For ever."""
        known = None if self.prefixes is None else self.prefixes.cleared
        while self.prefixes is not None:
            await asyncio.sleep(CLEARED_SECONDS)
            if (now := self.prefixes.cleared) != known:
                known = now
                await asyncio.to_thread(self._forget_all)

    def _forget_all(self) -> None:
        for model in self.loaded_models.models():
            try:
                model.engine.forget_all()
            except EngineError as problem:
                LOG.info("%s: what it kept in memory goes with it (%s)", model.info.name, problem)

    def _forget(self, texts: Sequence[str] | None, owner: str, asker: str) -> None:
        roots = []
        for model in self.loaded_models.models():
            try:
                roots.append(model.forget(texts, owner, asker))
            except EngineError as problem:
                LOG.info("%s: what it kept goes as a whole (%s)", model.info.name, problem)  # closed, or broken
        try:
            if self.prefixes is not None:
                self.prefixes.keep_only(owner, [root for root in roots if root is not None])
        except EngineError as problem:
            raise Refusal(500, f"It is deleted, but: {problem}", code="kept_prefixes_not_removed") from problem

    def permitted(self, name: str, caller: Caller) -> Installed:
        """What is called so. For a caller who may not use it there is no such model. Raises Refusal 404."""
        return self.loaded_models.catalog.find(name, caller.admits).installed

    async def description(self, installed: Installed) -> Description:
        """What its files say of it; it is not loaded for that. Raises Refusal for files that cannot be used."""
        if installed not in self._descriptions:
            try:
                found = await asyncio.to_thread(describe, installed, self.settings.load_options.get("template"))
            except Exception as problem:
                refusal = refusal_of(problem)
                if refusal is None:
                    sentence = f"Reading {installed.name}: {problem}"
                    refusal = Refusal(500, sentence, code="model_unusable", param="model")
                raise refusal from problem
            self._descriptions[installed] = found
        return self._descriptions[installed]

    async def answer(self, ask: Ask, caller: Caller, answer_id: str) -> "Running[Event]":
        """Answers that have begun: from here on only what the model does can go wrong. Raises Refusal, and what
        `Model.chat` raises."""

        notes: list[str] = []
        prompts: list[int] = []

        def start(lease: Lease, number: int) -> Pullable[Event]:
            answer = chat(lease, ask, number, notes, self.settings.answer_seconds, caller.whose)
            prompts.append(len(answer.prompt_ids))
            return answer

        running = await self.run(ask.model, caller, answer_id, start, ask.choices)
        running.notes = [*ask.notes, *sorted(set(notes))]
        running.prompt_tokens = max(prompts)
        return running

    async def run(
        self,
        model: str,
        caller: Caller,
        answer_id: str,
        start: Callable[[Lease, int], Pullable[Item]],
        count: int = 1,
    ) -> "Running[Item]":
        """`start(lease, number)` for each number below `count`, each in a thread."""
        with_these = self.in_flight + count
        if with_these > self.settings.most_answers:
            self.metrics.refused.inc(count)
            raise Refusal(
                503,
                f"{self.in_flight} answers are being written or wait, and this server takes "
                f"{self.settings.most_answers} at once. Ask again in a few seconds.",
                code="overloaded",
                retry_after=BUSY_SECONDS,
            )
        self.in_flight = with_these
        self.metrics.waiting.inc(count)
        asked = time.monotonic()
        lease: Lease | None = None
        running: Running[Item] | None = None
        try:
            lease = await self.borrow(model, caller)
            pulled = Pulled([partial(start, lease, number) for number in range(count)], self.threads)
            running = Running(self, lease, pulled, answer_id, count, asked, caller)
            self.running.add(running)
            await pulled.begin()
        except BaseException:
            self.in_flight -= count
            self.metrics.waiting.dec(count)
            if running is not None:
                self.running.discard(running)
            if lease is not None:
                lease.give_back()
            raise
        return running


class Running(Generic[Item]):
    """Answers being written. Iterate for (number, event); `close` in any case."""

    def __init__(
        self,
        service: Service,
        lease: Lease,
        pulled: Pulled[Item],
        answer_id: str,
        count: int,
        asked: float,
        caller: Caller,
    ) -> None:
        self.id, self.created, self.name, self.model = answer_id, int(time.time()), lease.name, lease.model
        self.notes: list[str] = []  # what was asked for and could not be promised
        self.prompt_tokens = 0  # of an answer to a conversation
        self.keep: float | None = float("nan")  # seconds the model stays from now on, if the client says so
        self.caller = caller
        self._service, self._lease, self._pulled = service, lease, pulled
        self.count, self._asked = count, asked
        self._waiting = count
        self._closed = False

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    async def __aiter__(self) -> AsyncIterator[tuple[int, Item]]:
        metrics, name = self._service.metrics, self.model.info.name
        begun: set[int] = set()
        async for number, event in self._pulled:
            if number not in begun and not isinstance(event, Reading):
                begun.add(number)
                self._begin_one()
                metrics.first_token.labels(name).observe(time.monotonic() - self._asked)
            if isinstance(event, Finished):
                self.count_tokens(event.usage)
                self._service.receipts.keep(self.id, self.caller.whose, number, event.receipt)
            yield number, event

    def count_tokens(self, usage: Usage) -> None:
        metrics, name = self._service.metrics, self.model.info.name
        metrics.prompt_tokens.labels(name).inc(usage.prompt)
        metrics.reused_tokens.labels(name).inc(usage.reused)
        metrics.output_tokens.labels(name).inc(usage.output)
        metrics.reasoning_tokens.labels(name).inc(usage.reasoning)

    def _begin_one(self) -> None:
        self._waiting -= 1
        self._service.metrics.waiting.dec()
        self._service.metrics.running.inc()

    def cancel(self) -> None:
        """End the answers before their next token; their last events still come."""
        self._pulled.cancel()

    def refuse(self, refusal: Refusal) -> None:
        """End the answers before their next token; whoever iterates is told why instead of what was still to come."""
        self._pulled.fail(refusal)

    async def close(self) -> None:
        """Ends what still runs, and gives everything back. May be called twice."""
        if self._closed:
            return
        self._closed = True
        if not self._pulled.finished:
            self._service.metrics.cancelled.inc()
            self._pulled.cancel()
        await asyncio.shield(asyncio.ensure_future(self._give_back()))

    async def _give_back(self) -> None:
        await self._pulled.ended()
        self._service.running.discard(self)
        self._service.metrics.waiting.dec(self._waiting)
        self._service.metrics.running.dec(self.count - self._waiting)
        self._service.in_flight -= self.count
        self._lease.give_back(self.keep)


class Receipts:
    """The receipts of the last answers, by whose they are and the id of the answer; the oldest are forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: OrderedDict[tuple[str, str], dict[int, Mapping[str, Any]]] = OrderedDict()

    def keep(self, answer_id: str, whose: str, number: int, receipt: Mapping[str, Any]) -> None:
        self._of.setdefault((whose, answer_id), {})[number] = receipt
        while len(self._of) > self._most:
            self._of.popitem(last=False)

    def of(self, answer_id: str, whose: str) -> list[Mapping[str, Any]]:
        """Of every choice, in order; none if they are not known."""
        kept = self._of.get((whose, answer_id), {})
        return [kept[number] for number in sorted(kept)]


def chat(
    lease: Lease, ask: Ask, number: int, notes: list[str], timeout: float | None = None, asker: str = OWNER
) -> Answer:
    """The answer with that number to what was asked. `notes` are told what cannot be promised.

    Libraries declare tools as strict of their own accord; where that can be honoured only for a call that is required,
    the tool is declared all the same, and the answer says so.
    """
    model = lease.model
    effort, thinking = wanted_thinking(lease, ask)
    sampling = dict(ask.sampling)
    if number and sampling.get("seed") is not None:
        sampling["seed"] = (sampling["seed"] + number) % 2**64
    tools = ask.tools
    if not model.chat_format.guides and ask.tool_choice in ("auto", "none") and any(tool.strict for tool in tools):
        tools = [replace(tool, strict=False) for tool in tools]
        notes.append("tools.strict")
    budget = ask.think_budget
    if ask.thinking and not model.chat_format.abilities.thinks:
        budget = None
        notes.append("thinking: this model does not think before it answers")
    answer = model.chat(
        ask.messages,
        tools,
        effort=effort,
        thinking=thinking,
        think_budget=budget,
        tool_choice=ask.tool_choice,
        parallel_tool_calls=ask.parallel,
        response_schema=ask.schema,
        response_grammar=ask.grammar,
        strict_schema=ask.strict_schema,
        stop=ask.stop,
        timeout=timeout,
        progress=ask.progress,
        owner=lease.owner,
        truncate=ask.truncates,
        asker=asker,
        **sampling,
    )
    if answer.left_out:
        notes.append(f"truncation: {len(answer.left_out)} of the oldest messages were left out")
    notes += [f"{each}, is not held to" for each in answer.loosened]
    return answer


def prompt_of(lease: Lease, ask: Ask) -> Sequence[int]:
    """The tokens of the prompt that `chat` would read, thoughts that would be put back left out."""
    model = lease.model
    effort, thinking = wanted_thinking(lease, ask)
    tools = () if ask.tool_choice == "none" and not model.chat_format.guides else ask.tools
    return model.render(ask.messages, tools, effort=effort, thinking=thinking, response_schema=ask.schema).ids


def wanted_thinking(lease: Lease, ask: Ask) -> tuple[Effort | None, bool | None]:
    abilities = lease.model.chat_format.abilities
    if ask.thinking is None and not ask.thinks_unasked and lease.effort is None and abilities.optional:
        return None, False
    return thinking_of(abilities, ask.effort or lease.effort, ask.thinking)


def thinking_of(abilities: Abilities, word: str | None, thinking: bool | None) -> tuple[Effort | None, bool | None]:
    """(effort, thinking) for the model: what the client's word comes to, moved to the nearest that the model has."""
    if thinking is False and abilities.optional:
        return None, False
    if word is None:
        return None, thinking if thinking is None or abilities.optional or thinking == abilities.thinks else None
    if word not in EFFORTS:
        raise Refusal(
            400,
            f"The effort is {word!r:.80}, expected one of {', '.join(EFFORTS)}.",
            code="invalid_value",
            param="reasoning_effort",
        )
    if word == "none" and abilities.optional:
        return None, False
    if not abilities.efforts:
        return None, True if abilities.optional and word != "minimal" else (False if abilities.optional else None)
    wanted = EFFORTS.index(word)
    nearest = min(abilities.efforts, key=lambda effort: abs(EFFORTS.index(effort) - wanted))
    return nearest, None


def resident_bytes() -> int:
    """Memory this process holds; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
