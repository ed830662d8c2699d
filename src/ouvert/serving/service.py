"""What all endpoints of one server share: models, keys, counters, receipts, and the way to an answer."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ouvert.assistant import (
    Answer,
    ChatRequest,
    Description,
    Event,
    Machine,
    describe,
    kept_prefixes,
    measured_disk,
    measured_machine,
)
from ouvert.serving.answers import AnswerInProgress, Answers, Task
from ouvert.serving.callers import OWNER, Caller
from ouvert.serving.catalog import Catalog, plain_names
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.fetches import Fetches
from ouvert.serving.kept_prompts import KeptPrompts
from ouvert.serving.keys import Keys
from ouvert.serving.loaded_models import Lease, LoadedModels
from ouvert.serving.metrics import Metrics
from ouvert.serving.receipt_store import ReceiptStore
from ouvert.serving.sentences import sentence_of
from ouvert.serving.settings import Settings
from ouvert.store import SILENCE, Answering, Installed, JobStore, KeptFiles, Progress, Removed, Store

LOG = logging.getLogger("ouvert.serving")

Item = TypeVar("Item")
Forget = Callable[[Sequence[str] | None, str], None]

AGENT = "agent/"  # what the name of an agent begins with, among those of models
KEY_SECONDS = 0.25  # between looks at whether the keys of running answers still count


class Service:
    """One server's belongings. Made inside the event loop that serves."""

    def __init__(self, settings: Settings, store: Store, progress: Progress = SILENCE) -> None:
        """Raises StoreError if a model that is to be served is not here."""
        self.settings, self.store = settings, store
        self.started = time.time()
        # One for all models, so that what is to be forgotten is found also where no model is in memory.
        stated = settings.load_options.get("prefixes", True)
        prefixes = (kept_prefixes(store, say=LOG.warning) if stated is True else stated) or None
        self.loaded_models = LoadedModels(
            store,
            Catalog(
                store,
                settings.models,
                only_named=settings.only_these,
                adapters=settings.adapters,
                has_adapters=settings.load_options.get("elsewhere") is None,
            ),
            keep=settings.keep,
            memory=settings.memory,
            load_wait=settings.load_wait,
            load_options={"clip_context": True, **settings.load_options, "prefixes": prefixes or False},
            progress=progress,
            allow=settings.allow,
        )
        self.kept_prompts = KeptPrompts(prefixes, self.loaded_models)
        self.also_forgets: list[Forget] = []  # who else holds what was said: called with the texts, and whose they are
        self.keys = Keys(settings.state)
        if settings.key_required:
            self.keys.require()
        self.jobs, self.files = JobStore(store.home / "jobs"), KeptFiles(store.home / "files")
        self.metrics = Metrics(lambda: len(self.loaded_models.loaded()), resident_bytes)
        self.receipts = ReceiptStore(settings.kept_receipts)
        self.answers = Answers(
            settings.most_answers, self.loaded_models, self.metrics, self.receipts, Answering(store.home)
        )
        self._measuring: asyncio.Future[tuple[Machine | None, float | None]] | None = None
        self.fetches = Fetches(
            store,
            settings.hub,
            settings.load_options.get("guard"),
            progress.say,
            precision=settings.load_options.get("precision"),
            only_named=settings.only_these,
        )
        self.agents: ServedAgents | None = None  # who answers by the name of an agent; the application says it
        self._descriptions: dict[Installed, Description] = {}

    async def watch_keys(self) -> None:
        """End the answers of keys that are revoked, soon after they are, for ever.

        Raises asyncio.CancelledError when it is cancelled.
        """
        while True:
            await asyncio.sleep(KEY_SECONDS)
            self.answers.end_those_of_revoked_keys(self.keys)

    async def close(self) -> None:
        """End what still runs, and give the models back. Raises nothing."""
        await self.fetches.close()
        if self._measuring is not None:
            await asyncio.wait([self._measuring])
        await self.kept_prompts.close()
        await self.loaded_models.close()
        self.answers.threads.shutdown(wait=True)

    async def borrow(self, name: str, caller: Caller) -> Lease:
        """The model of that name, for this caller. Raises Refusal if there is none, or it cannot be loaded now."""
        if name.startswith(AGENT) and self.agents is not None:
            name = self.agents.model_of(name, caller)
        return await self.loaded_models.lend(name, self.owner_of_prefixes(caller), caller.admits)

    def owner_of_prefixes(self, caller: Caller) -> str:
        """Whose kept prefixes a caller's prompts use and add to: each key has its own, unless the owner shares them.

        Raises nothing.
        """
        return OWNER if self.settings.share_prefixes else caller.whose

    async def forget(self, texts: Sequence[str] | None, caller: Caller) -> None:
        """Remove what is kept of this caller's prompts: see `KeptPrompts.forget`; and what was looked into that holds
        them. Raises Refusal if it cannot go."""
        for forget in self.also_forgets:
            forget(texts, caller.whose)
        await self.kept_prompts.forget(texts, self.owner_of_prefixes(caller), caller.whose)

    @property
    def speeds(self) -> tuple[Machine | None, float | None]:
        """How fast this machine is, and how many bytes a second its disk gives. None where it cannot be told, or is not
        known yet: asking begins to find it out, once, while nothing is answered. Raises nothing."""
        if self._measuring is None and not self.answers.in_flight:
            self._measuring = asyncio.ensure_future(asyncio.to_thread(self._measured))
        return self._measuring.result() if self._measuring is not None and self._measuring.done() else (None, None)

    @property
    def is_measuring(self) -> bool:
        """Whether `speeds` may be known later. Raises nothing."""
        return self._measuring is None or not self._measuring.done()

    def _measured(self) -> tuple[Machine | None, float | None]:
        machine = measured_machine()
        return machine, None if machine is None else measured_disk(self.store.home)

    async def remove(self, name: str) -> Removed:
        """Remove a model from this machine, or what is here of one whose fetch is not finished. An idle one is let go
        of first. Raises Refusal: 404 where there is none, 409 while it is used or fetched, or is no model of the store.
        """
        own_name = next((each for each in plain_names(name) if each in self.store.names()), None)
        if own_name is None:
            own_name = next((each for each in plain_names(name) if self.is_unfinished(each)), None)
        if own_name is None:
            installed = self.loaded_models.catalog.find(name).installed  # Refusal 404
            if installed.adapters:
                sentence = f"{installed.called} is a model with an adapter. `ouvert adapter remove` removes adapters."
                raise Refusal(409, sentence, code="not_a_model")
            raise Refusal(
                409,
                f"{installed.name} is not in the store: it is a file or folder that the server was started with. Take "
                "it away yourself.",
                code="not_in_store",
            )
        if self.fetches.under_way(own_name) is not None:
            raise Refusal(409, f"{own_name} is being fetched. Give that up first.", code="model_in_use")
        removed = await self.loaded_models.remove(own_name, lambda: self.store.remove(own_name))
        self.fetches.forget(own_name)
        return removed

    def is_unfinished(self, own_name: str) -> bool:
        """Whether a fetch of the model of that name was begun and is not finished. Raises nothing."""
        return any(each.name == own_name for each in self.store.unfinished())

    def permitted(self, name: str, caller: Caller) -> Installed:
        """What is called so. For a caller who may not use it there is no such model. Raises Refusal 404."""
        return self.loaded_models.catalog.find(name, caller.admits).installed

    async def description(self, installed: Installed) -> Description:
        """What its files say of it; it is not loaded for that. Raises Refusal for files that cannot be used."""
        installed = installed.base
        if installed not in self._descriptions:
            try:
                found = await asyncio.to_thread(describe, installed, self.settings.load_options.get("template"))
            except Exception as problem:
                refusal = refusal_of(problem)
                if refusal is None:
                    sentence = f"Reading {installed.name}: {sentence_of(problem)}"
                    refusal = Refusal(500, sentence, code="model_unusable", param="model")
                raise refusal from problem
            self._descriptions[installed] = found
        return self._descriptions[installed]

    async def answer(
        self,
        model: str,
        request: ChatRequest,
        caller: Caller,
        answer_id: str,
        *,
        notes: Sequence[str] = (),
        choices: int = 1,
    ) -> AnswerInProgress[Event]:
        """Answers that have begun: from here on only what the model does can go wrong. `notes`: what of the client's
        request is not honoured, whatever the model. Raises Refusal, and what `Model.answer` raises."""
        if model.startswith(AGENT) and self.agents is not None:
            work = self.agents.task(model, request, list(notes), caller, choices)
            running = await self.begin(work, caller, answer_id)
            running.name, running.notes = model, work.notes
            return running
        request = replace(request, timeout=self.settings.answer_seconds, asker=caller.whose)
        task = ConversationTask(model, request, notes, choices)
        answer = await self.begin(task, caller, answer_id)
        answer.notes, answer.prompt_tokens = task.notes, task.prompt_tokens
        return answer

    async def begin(self, task: Task[Item], caller: Caller, answer_id: str) -> AnswerInProgress[Item]:
        """Raises Refusal, and what `task.start` raises."""
        return await AnswerInProgress.begun(self.answers, task, caller, answer_id, self.owner_of_prefixes(caller))


class NotedTask(Task[Event], Protocol):
    """A task that says what of the client's request is not honoured."""

    notes: list[str]


class ServedAgents(Protocol):
    """The agents of a server, by the names agent/NAME. Its methods raise Refusal."""

    def task(self, name: str, request: ChatRequest, notes: list[str], caller: Caller, choices: int) -> NotedTask:
        """What a request to that agent begins."""

    def model_of(self, name: str, caller: Caller) -> str:
        """The model that answers for it."""

    def named(self, caller: Caller) -> Sequence[tuple[str, Installed]]:
        """Every name that this caller may use, and the model that answers; none without the scope."""

    def known(self, caller: Caller) -> Sequence[Mapping[str, Any]]:
        """What this caller may know of each agent."""

    def asked_by_a_program(self, caller: Caller, name: str, text: str) -> tuple[str, NotedTask]:
        """The id of a new run, and the run, whose task is nobody's own words."""

    def decided(self, caller: Caller, run: str, call: str, allowed: bool) -> NotedTask:
        """Say yes or no to the call that a run waits with, and what goes on with it."""

    def facts(self, caller: Caller, run: str) -> dict[str, Any]:
        """Where a run stands."""


class ConversationTask:
    """A conversation to be answered, as often as there are choices."""

    def __init__(self, model: str, request: ChatRequest, notes: Sequence[str], choices: int) -> None:
        self.model, self.choices, self.variant = model, choices, request.variant
        self.prompt_tokens = 0
        self._request, self._notes = request, tuple(notes)
        self._unkept: set[str] = set()  # what turned out when the choices were started

    def start(self, lease: Lease, number: int) -> Answer:
        answer = lease.model.answer(lease.asked(self._request).choice(number))
        self.variant = answer.request.variant  # with the edits that were asked for, at their tokens
        self._unkept |= {str(note) for note in answer.notes}
        self.prompt_tokens = max(self.prompt_tokens, len(answer.prompt_ids))
        return answer

    @property
    def notes(self) -> list[str]:
        """What of the request cannot be promised. Complete when all choices have been started."""
        return [*self._notes, *sorted(self._unkept)]


def resident_bytes() -> int:
    """Memory this process holds; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
