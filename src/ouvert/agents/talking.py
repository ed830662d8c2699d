"""Asking the model for its next answer, and what came of it as an event. Native tools of gpt-oss keep their names."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ouvert.agents.agent_file import Agent
from ouvert.agents.builtin import BROWSER, from_native, native_tools
from ouvert.agents.shown import browser_calls, citable, statements_schema
from ouvert.agents.state import State, conversation_messages
from ouvert.agents.steps import ANSWER
from ouvert.agents.steps import Answer as AnswerStep
from ouvert.agents.tools import AgentTool
from ouvert.assistant import (
    AnswerForm,
    ChatRequest,
    Demands,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    Thinking,
    Tool,
    as_demands,
)
from ouvert.chat import NO_ARGUMENTS, Conversation

ASKED = "[Answer from these lines, with the source that says it: {}]"
STATED = "One statement after the other, each with the lines that it stands on."
SEED = 1  # of every answer, so that a run can be replayed; the receipt has it, too


class Writing(Protocol):
    """An answer while it is written: typed events, and a way to end it."""

    def __iter__(self) -> Iterator[Event]: ...

    def cancel(self) -> None: ...


class Format(Protocol):
    """What of a chat format matters here."""

    @property
    def name(self) -> str: ...


class Speaker(Protocol):
    """A model as an agent uses it: `ouvert.Model` is one."""

    @property
    def chat_format(self) -> Format:
        """How its conversations are written. Raises what the model's own raises."""

    def answer(self, request: ChatRequest, /) -> Writing:
        """An answer as it is written. Raises EngineError and ChatError."""


@dataclass(slots=True)
class Current:
    """What is being written now, for whoever cancels."""

    writing: Writing | None = None
    cancelled: bool = False

    def cancel(self) -> None:
        """Safe from any thread. Raises nothing."""
        self.cancelled = True
        if self.writing is not None:
            self.writing.cancel()


def request_for(
    state: State, agent: Agent, tools: Mapping[str, AgentTool], step: AnswerStep, speaker: Speaker
) -> ChatRequest:
    """What the model is asked: the same for the same events. Raises AssistantError and EngineError for a schema that
    cannot be held to."""
    native = native_tools({} if agent.header.held else tools, speaker.chat_format.name)
    last = state.task["budget"]["steps"] - state.spent["steps"] <= 1  # better an answer than a search more
    messages = list(conversation_messages(state, agent.instructions))
    if agent.states and last and messages[-1].role == "tool":  # what was asked stands far above what was read
        messages[-1] = replace(messages[-1], content=f"{messages[-1].content}\n\n{ASKED.format(state.task['text'])}")
    conversation = Conversation(
        messages=tuple(messages),
        tools=tuple(tool.declared for name, tool in tools.items() if name not in native.covered),
        builtin_tools=native.names,
        answer_schema=agent.schema,
    )
    conversation = native.conversation(conversation)
    demands = Demands()
    if agent.header.held:
        conversation = replace(conversation, tools=(*conversation.tools, answer_tool(agent)), answer_schema=None)
        demands = as_demands(ANSWER if last else "required", conversation.tools, one_call=True)
        demands = replace(demands, arguments=arguments_now(state, agent, conversation.tools))
    elif agent.schema is not None:
        demands = as_demands("auto", conversation.tools, AnswerForm(schema=agent.schema, strict=False))
    sampling: dict[str, Any] = {"seed": SEED, "max_tokens": step.tokens}
    if agent.header.temperature is not None:
        sampling["temperature"] = agent.header.temperature
    thinking = Thinking(effort=agent.header.effort)
    return ChatRequest(
        conversation=conversation,
        demands=demands,
        thinking=thinking,
        lenient=True,
        sampling=sampling,
        timeout=step.seconds,
        truncate=False,
    )


def answer_tool(agent: Agent) -> Tool:
    """What an agent calls to end, whose every step is a call that is held to a schema."""
    text = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    description = "Give the final answer, when everything is done."
    if agent.states:
        return Tool(name=ANSWER, description=f"{description} {STATED}", parameters=statements_schema())
    parameters = {**text, "additionalProperties": False} if agent.schema is None else agent.schema
    return Tool(name=ANSWER, description=description, parameters=parameters)


def arguments_now(state: State, agent: Agent, tools: Sequence[Tool]) -> dict[str, Mapping[str, Any]] | None:
    """What the calls of an agent that ends with statements are held to: only lines that it has read can be cited, and
    before it has read any it looks. None: as the tools are declared."""
    if not agent.states:
        return None
    held = {tool.name: tool.parameters or NO_ARGUMENTS for tool in tools if tool.name not in BROWSER}
    held |= {**browser_calls(state.messages, state.task["text"]), ANSWER: statements_schema(citable(state.messages))}
    read = [message for message in state.messages if message.role == "tool"]
    if not read and state.task["budget"]["steps"] > 1:
        del held[ANSWER]
    elif read and citable(read[-1:]):
        held.pop(str(read[-1].name), None)  # what it called last has answered: small models like to ask it again
    return held


def answered(speaker: Speaker, request: ChatRequest, current: Current) -> Generator[Event, None, dict[str, Any]]:
    """The events of an answer as they come; returns the facts of its event. Raises EngineError and ChatError as the
    model does."""
    began = time.monotonic()
    text: list[str] = []
    reasoning: list[str] = []
    finished: Finished | None = None
    writing = current.writing = speaker.answer(request)
    if current.cancelled:
        writing.cancel()
    try:
        for event in writing:
            match event:
                case TextDelta(piece):
                    text.append(piece)
                case ReasoningDelta(piece):
                    reasoning.append(piece)
                case Finished():
                    finished = event
            yield event
    finally:
        current.writing = None
    assert finished is not None  # noqa: S101 - every answer ends with it
    return facts_of(finished, "".join(text), "".join(reasoning), time.monotonic() - began)


def facts_of(finished: Finished, text: str, reasoning: str, seconds: float) -> dict[str, Any]:
    return {
        "text": text,
        "reasoning": reasoning,
        "calls": [
            {"id": call.id, "name": name, "arguments": arguments}
            for call in finished.tool_calls
            for name, arguments in [from_native(call.name, call.arguments)]
        ],
        "ended": finished.reason,
        "tokens": finished.usage.output,
        "seconds": round(seconds, 6),
        "joules": finished.receipt.get("joules"),
        "receipt": dict(finished.receipt),
    }
