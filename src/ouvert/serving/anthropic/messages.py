"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's Messages, a translation of the assistant's events."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field
from starlette.responses import Response

from ouvert.assistant import (
    AnswerForm,
    ChatRequest,
    Event,
    Finished,
    Thinking,
    Tool,
    Watched,
    as_conversation,
    as_demands,
    sampling_asked,
)
from ouvert.serving import consulting, edits, receipts, watching
from ouvert.serving.answer_form import FormedRequest
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.anthropic.blocks import Block, SentMessage, read_messages
from ouvert.serving.anthropic.events import PING, MessageWriter
from ouvert.serving.anthropic.foreign_fields import ANTHROPIC_HARMLESS, ANTHROPIC_REFUSED
from ouvert.serving.bounds import AnthropicTemperature, Share, StopList
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS, Call, Endpoint
from ouvert.serving.errors import Refusal, anthropic_error
from ouvert.serving.streams import JSONAnswer, Streamed, saying_what_goes_wrong, sse, unless_gone
from ouvert.serving.wire import Several, Wire

# Anthropic's words for an effort -> ours, where they differ.
EFFORTS = {"max": "xhigh"}


class CustomTool(Wire):
    """A tool of the caller's. One of Anthropic's own (`type: web_search_…`) has no input_schema, and is left out."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_control", "eager_input_streaming"})
    refused: ClassVar[Mapping[str, str]] = {"function": "send its name, description and input_schema as fields here"}

    name: str = Field(min_length=1, max_length=256)
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(Wire):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ThinkingConfig(Wire):
    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(Wire):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Wire):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountRequest(FormedRequest):
    """What a prompt is made of."""

    without_effect: ClassVar[frozenset[str]] = ANTHROPIC_HARMLESS
    refused: ClassVar[Mapping[str, str]] = ANTHROPIC_REFUSED

    model: str = Field(min_length=1, max_length=512)
    messages: Several[SentMessage] = Field(min_length=1)
    system: str | Several[Block] | None = None
    tools: Several[CustomTool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None

    def stated_forms(self) -> Iterator[tuple[str, AnswerForm]]:
        wanted = (self.output_config.format if self.output_config else None) or self.output_format
        if wanted is not None:
            yield "output_config.format", AnswerForm(schema=wanted.schema_)
        yield from super().stated_forms()


class MessagesRequest(CountRequest):
    max_tokens: int = Field(ge=1, le=MOST_TOKENS)
    stop_sequences: StopList | None = None
    temperature: AnthropicTemperature | None = None
    top_p: Share | None = None
    top_k: int | None = Field(None, ge=-1, le=MOST_COUNT)
    seed: int | None = None  # ours: Anthropic has none
    stream: bool | None = None
    ouvert: watching.Extras | None = None

    def sampling(self) -> dict[str, Any]:
        return sampling_asked(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            seed=self.seed,
            max_tokens=self.max_tokens,
        )


def asked(request: CountRequest) -> ChatRequest:
    """What a prompt is made of. Raises Refusal for what cannot be honoured and must not be left out."""
    choice, config = request.tool_choice, request.thinking
    tools = [as_tool(tool) for tool in own_tools(request)]
    messages = read_messages(request.system, request.messages).messages
    return ChatRequest(
        conversation=as_conversation(messages, tools, schema=request.form.schema),
        demands=as_demands(
            "auto" if choice is None else as_choice(choice),
            tools,
            request.form,
            one_call=choice is not None and bool(choice.disable_parallel_tool_use),
            think_budget=config.budget_tokens if config is not None and config.type == "enabled" else None,
        ),
        thinking=as_thinking(config, request.output_config.effort if request.output_config else None),
        lenient=True,
    )


def as_thinking(config: ThinkingConfig | None, effort: str | None) -> Thinking:
    """Claude thinks only where it is asked to."""
    if config is not None and config.type == "disabled":
        return Thinking(effort="none", unasked=False)
    enabled = True if config is not None else None
    return Thinking(effort=EFFORTS.get(effort or "", effort), enabled=enabled, unasked=False)


def own_tools(request: CountRequest) -> list[CustomTool]:
    """The caller's, not Anthropic's own."""
    return [tool for tool in request.tools or () if tool.input_schema is not None or tool.type in (None, "custom")]


def notes_on(request: CountRequest) -> tuple[str, ...]:
    """What of the request is not honoured, whatever the model."""
    own = own_tools(request)
    anthropics = [f"tools: {tool.type} is Anthropic's own" for tool in request.tools or () if tool not in own]
    return (*request.unknown, *read_messages(request.system, request.messages).notes, *anthropics)


def as_tool(tool: CustomTool) -> Tool:
    return Tool(
        name=tool.name,
        description=tool.description or "",
        parameters=tool.input_schema,
        strict=bool(tool.strict),
    )


def as_choice(choice: ToolChoice) -> str | Mapping[str, Any]:
    match choice.type:
        case "any":
            return "required"
        case "tool":
            if choice.name is None:
                raise Refusal(
                    400,
                    "tool_choice is of the type tool, expected the tool's name in it.",
                    code="invalid_value",
                    param="tool_choice.name",
                )
            return {"type": "function", "function": {"name": choice.name}}
    return choice.type


def asked_to_answer(request: MessagesRequest) -> ChatRequest:
    stops = tuple(stop for stop in request.stop_sequences or () if stop)
    return replace(asked(request), sampling=request.sampling(), stop=stops)


def how_thoughts_are_shown(thinking: ThinkingConfig | None) -> str:
    if thinking is not None and thinking.type == "disabled":
        return "left out"
    return "omitted" if thinking is not None and thinking.display == "omitted" else "shown"


async def create_message(call: Call) -> Response:
    request: MessagesRequest = call.body
    answer_id = "msg_" + secrets.token_hex(12)
    wanted, notes = edits.edited(asked_to_answer(request), request.ouvert, call), notes_on(request)
    wanted = consulting.consulted(watching.watched(wanted, request.ouvert, call), request.ouvert, call)
    answer = await unless_gone(
        call.request, call.service.answer(request.model, wanted, call.caller, answer_id, notes=notes)
    )
    shown, abilities = how_thoughts_are_shown(request.thinking), answer.model.chat_format.abilities
    if shown == "left out" and abilities.thinks and not abilities.optional:
        answer.notes.append("thinking: its thoughts are left out of this message")
    writer = MessageWriter(new_message(answer), shown)
    full = receipts.wants_full(call.request, request.ouvert)
    headers = {receipts.HEADER: answer_id, "request-id": answer_id, **edits.state_of(wanted), **answer.headers}
    if request.stream:
        return Streamed(
            saying_what_goes_wrong(streamed(answer, writer, request.max_tokens, full=full), in_anthropics_words),
            answer.close,
            ping=sse(PING, "ping"),
            ping_seconds=call.service.settings.ping_seconds,
            headers=headers,
        )
    try:
        await unless_gone(call.request, written(answer, writer, request.max_tokens, full=full))
    finally:
        await answer.close()
    return JSONAnswer(writer.message, headers=headers)


def new_message(answer: AnswerInProgress[Event]) -> dict[str, Any]:
    """A message of which nothing is written yet. How much of its prompt was kept is known at its end."""
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.name,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": answer.prompt_tokens, "output_tokens": 0},
    }


async def events(
    answer: AnswerInProgress[Event], writer: MessageWriter, max_tokens: int, *, full: bool
) -> AsyncIterator[dict[str, Any]]:
    for told in writer.begin():
        yield told
    seen = watching.Pieces()
    async for _, event in answer:
        if isinstance(event, Watched):
            seen.take(0, event)
        for told in writer.take(event):
            yield seen.with_untold(told)
        if isinstance(event, Finished):
            beside = receipts.beside(answer.id, [event.receipt], full=full, notes=answer.notes)
            for told in writer.end(event, max_tokens, beside):
                yield seen.with_untold(told)
            writer.message["ouvert"] = {**beside, **seen.whole}


async def written(answer: AnswerInProgress[Event], writer: MessageWriter, max_tokens: int, *, full: bool) -> None:
    async for _ in events(answer, writer, max_tokens, full=full):
        pass


async def streamed(
    answer: AnswerInProgress[Event], writer: MessageWriter, max_tokens: int, *, full: bool
) -> AsyncIterator[bytes]:
    async for event in events(answer, writer, max_tokens, full=full):
        yield sse(event, event["type"])


def in_anthropics_words(refusal: Refusal) -> bytes:
    """What went wrong in a stream, as its last event."""
    return sse(anthropic_error(refusal), "error")


async def count_tokens(call: Call) -> Response:
    request: CountRequest = call.body
    to_read, notes = asked(request), notes_on(request)
    lease = await unless_gone(call.request, call.service.borrow(request.model, call.caller))
    try:
        ids = await asyncio.to_thread(lease.prompt_ids, to_read)
        beside = {"ouvert": {"not_honoured": list(notes)}} if notes else {}
        return JSONAnswer({"input_tokens": len(ids), **beside})
    finally:
        lease.give_back()


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/messages",
        handler=create_message,
        summary="Answer a conversation, in Anthropic's dialect",
        body=MessagesRequest,
        dialect=anthropic_error,
    ),
    Endpoint(
        method="POST",
        path="/messages/count_tokens",
        handler=count_tokens,
        summary="How many tokens the prompt of such a conversation has",
        body=CountRequest,
        dialect=anthropic_error,
    ),
)
