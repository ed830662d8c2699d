"""Whose agents and runs there are, how one becomes an answer, and those that go on while nobody reads."""

import asyncio
import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ouvert.agents import Agent, AgentError, Agents, Asked, Run, new_run_id, shown_facts
from ouvert.assistant import ChatRequest, Event
from ouvert.chat import Conversation
from ouvert.documents import Collections, in_a_box
from ouvert.serving.agents.task import LeasedSpeaker, Opening, RunTask
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.callers import OWNER, Caller, refuse_without_scope
from ouvert.serving.errors import Refusal
from ouvert.serving.sentences import sentence_of
from ouvert.serving.service import AGENT, Service
from ouvert.store import Installed

LOG = logging.getLogger("ouvert.serving")

SCOPE = "agents"
KNOWN = {
    "name",
    "description",
    "model",
    "tools",
    "documents",
    "approve",
    "budget",
}  # of an agent's header, to whoever may ask it


class NewRun(Opening):
    """A run that begins."""

    def __init__(self, agents: Agents, agent: Agent, asked: Asked, run: str, asker: str) -> None:
        super().__init__(agent.header.model, asker)
        self.id = run
        self._agents, self._agent, self._asked = agents, agent, asked

    @contextmanager
    def run(self, speaker: LeasedSpeaker) -> Iterator[Run]:
        place = self._agents.runs_folder / self.id
        with self._agents.begun(self._agent, self._asked, speaker.named, folder=place) as run:
            yield run


class OldRun(Opening):
    """A run that is gone on with."""

    def __init__(self, agents: Agents, run: str, model: str, asker: str) -> None:
        super().__init__(model, asker)
        self.id, self._agents = run, agents

    @contextmanager
    def run(self, speaker: LeasedSpeaker) -> Iterator[Run]:
        with self._agents.reopened(self.id, speaker.named) as run:
            yield run


class Runs:
    """The runs of one server. Belongs to one event loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._going: dict[str, tuple[AnswerInProgress[Event], asyncio.Task[None]]] = {}

    def agents_of(self, caller: Caller) -> Agents:
        """The owner's agents, with this caller's documents and runs. Raises Refusal without the scope."""
        refuse_without_scope(caller, SCOPE)
        home = self._service.store.home
        collections = Collections(home, in_a_box(), owner=caller.whose)
        if caller.whose == OWNER:
            return Agents(home, collections)
        whose = hashlib.sha256(caller.whose.encode()).hexdigest()[:16]
        return Agents(home, collections, runs=home / "agent-runs-of" / whose)

    def agent(self, agents: Agents, name: str, caller: Caller) -> Agent:
        """Raises Refusal 404 where there is none, or the caller may not use its model."""
        try:
            agent = agents.read(name)
        except AgentError as problem:
            raise Refusal(404, sentence_of(problem), code="model_not_found", param="model") from problem
        self._service.permitted(agent.header.model, caller)
        return agent

    def task(self, name: str, request: ChatRequest, notes: list[str], caller: Caller, choices: int) -> RunTask:
        """What a dialect's request for `agent/NAME` begins. Raises Refusal for what an agent does not take."""
        agents = self.agents_of(caller)
        agent = self.agent(agents, plain_name(name), caller)
        refuse_what_an_agent_does_not_take(request, choices)
        asked, left_out = asked_in(request.conversation)
        run = new_run_id()
        return RunTask(NewRun(agents, agent, asked, run, caller.whose), [*notes, *left_out])

    def model_of(self, name: str, caller: Caller) -> str:
        """The model that answers for `agent/NAME`. Raises Refusal."""
        return self.agent(self.agents_of(caller), plain_name(name), caller).header.model

    def named(self, caller: Caller) -> list[tuple[str, Installed]]:
        """Every `agent/NAME` that this caller may use, and the model that answers. Raises nothing."""
        if not caller.may(SCOPE):
            return []
        agents, found = self.agents_of(caller), []
        for name in agents.names():
            with suppress(Refusal):
                model = self.agent(agents, name, caller).header.model
                found.append((AGENT + name, self._service.permitted(model, caller)))
        return found

    def known(self, caller: Caller) -> list[Mapping[str, Any]]:
        """What this caller may know of each agent. Raises Refusal without the scope."""
        agents = self.agents_of(caller)
        found: list[Mapping[str, Any]] = []
        for name in agents.names():
            with suppress(AgentError):
                header = agents.read(name).header
                if caller.admits(header.model):
                    found.append(header.model_dump(mode="json", include=KNOWN))
        return found

    def asked_by_a_program(self, caller: Caller, name: str, text: str) -> tuple[str, RunTask]:
        """The id of a new run, and the run. Its task may be a model's words, or what a model read: nothing of it counts
        as the owner's, and the run begins tainted. Raises Refusal."""
        agents = self.agents_of(caller)
        agent, run = self.agent(agents, name, caller), new_run_id()
        return run, RunTask(NewRun(agents, agent, Asked(text=text, words="", tainted=True), run, caller.whose))

    def decided(self, caller: Caller, run: str, call: str, allowed: bool) -> RunTask:
        """Say yes or no to the call that waits, and what goes on with the run. Raises Refusal, AgentError."""
        agents = self.agents_of(caller)
        agents.decide(run, call, allowed=allowed, by="owner" if caller.is_owner else caller.whose)
        return RunTask(OldRun(agents, run, agents.model_of(run), caller.whose))

    def resumed(self, caller: Caller, run: str) -> RunTask:
        """What goes on with a run that was interrupted. Raises Refusal, AgentError."""
        agents = self.agents_of(caller)
        state = agents.facts(run).state.name
        if state != "running":
            raise Refusal(409, f"{run} is {state}, expected one that was interrupted.", code="run_not_open")
        return RunTask(OldRun(agents, run, agents.model_of(run), caller.whose))

    def facts(self, caller: Caller, run: str) -> dict[str, Any]:
        """Where a run of this caller stands. Raises Refusal without the scope, AgentError for no run of theirs."""
        return shown_facts(self.agents_of(caller).facts(run))

    async def begin(self, caller: Caller, name: str, asked: Asked) -> str:
        """A run in the background; its id. Raises Refusal, AgentError."""
        agents = self.agents_of(caller)
        agent = self.agent(agents, name, caller)
        run = new_run_id()
        await self._go(run, RunTask(NewRun(agents, agent, asked, run, caller.whose)), caller)
        return run

    async def go_on(self, run: str, task: RunTask, caller: Caller) -> None:
        """In the background. Raises Refusal, AgentError. Who is asked may say so before the answer with the question
        is read to its end: nothing goes on behind a question, so that end is waited for."""
        while run in self._going:
            await asyncio.wait([self._going[run][1]])
        await self._go(run, task, caller)

    async def _go(self, run: str, task: RunTask, caller: Caller) -> None:
        answer = await self._service.begin(task, caller, run)
        self._going[run] = answer, asyncio.create_task(self._read(run, answer))

    async def _read(self, run: str, answer: AnswerInProgress[Event]) -> None:
        try:
            async for _ in answer:
                pass
        except Exception as problem:  # its record says how far it came; it can be gone on with
            LOG.warning("%s was interrupted: %s", run, sentence_of(problem))
        finally:
            await answer.close()
            self._going.pop(run, None)

    def cancel(self, run: str) -> bool:
        """Whether it was going on here. Raises nothing."""
        going = self._going.get(run)
        if going is not None:
            going[0].cancel()
        return going is not None

    def is_going(self, run: str) -> bool:
        return run in self._going

    async def close(self) -> None:
        """End what goes on; it can be gone on with later. Raises nothing."""
        tasks = [task for _, task in self._going.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def plain_name(name: str) -> str:
    return name.removeprefix(AGENT).removesuffix(":latest")


def refuse_what_an_agent_does_not_take(request: ChatRequest, choices: int) -> None:
    """Its file says what it has: tools, the form of its answer, its model. Raises Refusal."""
    wrong = {
        "tools": bool(request.conversation.tools),
        "response_format": request.demands.answer is not None,
        "n": choices > 1,
        "ouvert": bool(request.edits or request.watch),
        "stop": bool(request.stop),
    }
    for name, given in wrong.items():
        if given:
            raise Refusal(
                400, f"{name} is not taken by an agent: its file says what it uses. Leave it out.",
                code="unsupported_parameter", param=name,
            )  # fmt: skip


def asked_in(conversation: Conversation) -> tuple[Asked, list[str]]:
    """What is asked of the agent, and what of the conversation it is not told. Raises Refusal."""
    said = [each for each in conversation.messages if each.role in ("user", "assistant") and each.content]
    if not said or said[-1].role != "user":
        raise Refusal(400, "An agent answers a user's message; send one last.", code="invalid_value", param="messages")
    history: list[dict[str, Any]] = [{"role": each.role, "content": each.content} for each in said[:-1]]
    others = any(each.role not in ("user", "assistant") for each in conversation.messages)
    notes = ["messages: an agent has its own instructions and tools; those of others were left out"] if others else []
    return Asked(text=said[-1].content, history=history), notes
