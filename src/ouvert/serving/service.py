"""What all endpoints of one server share: models, keys, counters, receipts, and the way to an answer."""

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ouvert.assistant import Answer, Description, Event, Grammar, Message, Tool, describe, kept_prefixes
from ouvert.chat import Abilities, Effort
from ouvert.serving.answers import AnswerInProgress, Answers, Task
from ouvert.serving.callers import OWNER, Caller
from ouvert.serving.catalog import Catalog
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.kept_prompts import KeptPrompts
from ouvert.serving.keys import Keys
from ouvert.serving.loaded_models import Lease, LoadedModels
from ouvert.serving.metrics import Metrics
from ouvert.serving.receipt_store import ReceiptStore
from ouvert.serving.response_store import ResponseStore
from ouvert.serving.settings import Settings
from ouvert.store import SILENCE, Installed, Progress, Store

LOG = logging.getLogger("ouvert.serving")

Item = TypeVar("Item")

# What clients call an effort, least first; those that no model has are moved to the nearest.
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
KEY_SECONDS = 0.25  # between looks at whether the keys of running answers still count


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
        stated = settings.load_options.get("prefixes", True)
        prefixes = (kept_prefixes(store, say=LOG.warning) if stated is True else stated) or None
        self.loaded_models = LoadedModels(
            store,
            Catalog(store, settings.models, only_named=settings.only_these),
            keep=settings.keep,
            memory=settings.memory,
            load_wait=settings.load_wait,
            load_options={"clip_context": True, **settings.load_options, "prefixes": prefixes or False},
            progress=progress,
        )
        self.kept_prompts = KeptPrompts(prefixes, self.loaded_models)
        self.keys = Keys(settings.state)
        if settings.key_required:
            self.keys.require()
        self.metrics = Metrics(lambda: len(self.loaded_models.loaded()), resident_bytes)
        self.receipts = ReceiptStore(settings.kept_receipts)
        self.responses = ResponseStore(settings.stored_responses)
        self.answers = Answers(settings.most_answers, self.loaded_models, self.metrics, self.receipts)
        self._descriptions: dict[Installed, Description] = {}

    async def watch_keys(self) -> None:
        """End the answers of keys that are revoked, soon after they are, for ever."""
        while True:
            await asyncio.sleep(KEY_SECONDS)
            self.answers.end_those_of_revoked_keys(self.keys)

    async def close(self) -> None:
        for task in self.responses.tasks():
            task.cancel()
        await asyncio.gather(*self.responses.tasks(), return_exceptions=True)
        await self.kept_prompts.close()
        await self.loaded_models.close()
        self.answers.threads.shutdown(wait=True)

    async def borrow(self, name: str, caller: Caller) -> Lease:
        """The model of that name, for this caller. Raises Refusal."""
        return await self.loaded_models.lend(name, self.owner_of_prefixes(caller), caller.admits)

    def owner_of_prefixes(self, caller: Caller) -> str:
        """Whose kept prefixes a caller's prompts use and add to: each key has its own, unless the owner shares them."""
        return OWNER if self.settings.share_prefixes else caller.whose

    async def forget(self, texts: Sequence[str] | None, caller: Caller) -> None:
        """Remove what is kept of this caller's prompts: see `KeptPrompts.forget`. Raises Refusal."""
        await self.kept_prompts.forget(texts, self.owner_of_prefixes(caller), caller.whose)

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

    async def answer(self, ask: Ask, caller: Caller, answer_id: str) -> AnswerInProgress[Event]:
        """Answers that have begun: from here on only what the model does can go wrong. Raises Refusal, and what
        `Model.chat` raises."""
        task = ConversationTask(ask, self.settings.answer_seconds, caller.whose)
        answer = await self.begin(task, caller, answer_id)
        answer.notes, answer.prompt_tokens = task.notes, task.prompt_tokens
        return answer

    async def begin(self, task: Task[Item], caller: Caller, answer_id: str) -> AnswerInProgress[Item]:
        """Raises Refusal, and what `task.start` raises."""
        return await AnswerInProgress.begun(self.answers, task, caller, answer_id, self.owner_of_prefixes(caller))


class ConversationTask:
    """A conversation to be answered, as often as there are choices."""

    def __init__(self, ask: Ask, timeout: float | None, asker: str) -> None:
        """`timeout`: seconds that an answer may take. `asker`: `whose` of who asks."""
        self.model, self.choices = ask.model, ask.choices
        self._ask, self._timeout, self._asker = ask, timeout, asker
        self._unkept: list[str] = []  # what turned out when the choices were started, once for each
        self.prompt_tokens = 0

    def start(self, lease: Lease, number: int) -> Answer:
        answer = chat(lease, self._ask, number, self._unkept, self._timeout, self._asker)
        self.prompt_tokens = max(self.prompt_tokens, len(answer.prompt_ids))
        return answer

    @property
    def notes(self) -> list[str]:
        """What of the request cannot be promised. Complete when all choices have been started."""
        return [*self._ask.notes, *sorted(set(self._unkept))]


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
