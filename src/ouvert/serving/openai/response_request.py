"""What POST /v1/responses takes, what it asks of the assistant, and the response as it begins."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ouvert.assistant import AnswerForm, ChatRequest, Message, Thinking, as_conversation, as_demands
from ouvert.serving import watching
from ouvert.serving.answer_form import FormedRequest, StatedFormat
from ouvert.serving.bounds import TopLogprobs
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS
from ouvert.serving.openai.foreign_fields import OPENAI_HARMLESS, RESPONSES_REFUSED
from ouvert.serving.openai.response_items import unknown_in_items
from ouvert.serving.openai.response_tools import declared_tools
from ouvert.serving.openai.wire import Limit, SamplingFields, StreamOptions, chosen_tools
from ouvert.serving.wire import Several, Wire, first_notes

LOGPROBS = "message.output_text.logprobs"
INCLUDED = (LOGPROBS, "reasoning.encrypted_content")  # thoughts are given as they are, and taken back so


class TextSettings(Wire):
    format: StatedFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningSettings(Wire):
    unkept: ClassVar[Mapping[str, str]] = {
        "generate_summary": "thoughts are given whole",
        "summary": "thoughts are given whole",
    }

    effort: str | None = None


class InputRequest(FormedRequest):
    """What a prompt is made of."""

    without_effect: ClassVar[frozenset[str]] = OPENAI_HARMLESS | {"access_programs"}
    refused: ClassVar[Mapping[str, str]] = RESPONSES_REFUSED

    model: str = Field(min_length=1, max_length=512)
    input: str | Several[dict[str, Any]] | None = None
    instructions: str | None = None
    tools: Several[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningSettings | None = None
    text: TextSettings | None = None
    previous_response_id: str | None = None
    truncation: Literal["auto", "disabled"] | None = None

    def stated_forms(self) -> Iterator[tuple[str, AnswerForm]]:
        stated = self.text.format if self.text else None
        if stated is not None and stated.type != "text":
            yield "text.format", stated.form("text.format")
        yield from super().stated_forms()


class ResponsesRequest(InputRequest, SamplingFields):
    max_output_tokens: Limit = None
    top_logprobs: TopLogprobs | None = None
    think_budget: int | None = Field(None, ge=1, le=MOST_TOKENS)
    include: Several[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    store: bool | None = None
    background: bool | None = None
    metadata: Annotated[dict[str, str], Field(max_length=16)] | None = None
    max_tool_calls: int | None = Field(None, ge=0, le=MOST_COUNT)
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    user: str | None = None
    ouvert: watching.Extras | None = None


def asked(request: ResponsesRequest, messages: list[Message]) -> ChatRequest:
    """What the request asks of the assistant. Raises Refusal for what cannot be honoured."""
    sampling = {**request.sampling(), "max_tokens": request.max_output_tokens}
    if request.top_logprobs or LOGPROBS in (request.include or ()):
        sampling["logprobs"] = request.top_logprobs or 0
    to_read = asked_to_read(request, messages)
    return replace(to_read, sampling=sampling, demands=replace(to_read.demands, think_budget=request.think_budget))


def asked_to_read(request: InputRequest, messages: list[Message]) -> ChatRequest:
    """The part of it that a prompt is made of."""
    tools, choice = chosen_tools(declared_tools(request.tools or ()).tools, as_choice(request.tool_choice))
    return ChatRequest(
        conversation=as_conversation(messages, tools, schema=request.form.schema),
        demands=as_demands(choice, tools, request.form, one_call=request.parallel_tool_calls is False),
        thinking=Thinking(effort=request.reasoning.effort if request.reasoning else None),
        lenient=True,
        truncate=request.truncation == "auto",
    )


def notes_on(request: ResponsesRequest) -> tuple[str, ...]:
    """What of the request is not honoured, whatever the model."""
    beside = [f"include: {name[:80]} is not given here" for name in request.include or () if name not in INCLUDED]
    if request.text and request.text.verbosity in ("low", "high"):
        beside.append("text.verbosity: say in the instructions how long the answer is to be")
    return (*notes_on_input(request), *first_notes(iter(beside)))


def notes_on_input(request: InputRequest) -> tuple[str, ...]:
    """Notes on the fields that the prompt is made of."""
    tools = declared_tools(request.tools or ())
    return (*request.unknown, *tools.notes, *first_notes(unknown_in_items(request.input)))


def as_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """A custom tool is called as the function it is offered as."""
    return {**choice, "type": "function"} if isinstance(choice, dict) and choice.get("type") == "custom" else choice


def new_response(request: ResponsesRequest, response_id: str) -> dict[str, Any]:
    """A response of which nothing is written yet: every field of OpenAI's types, and of Open Responses."""
    settings = request.text or TextSettings()
    form: dict[str, Any] = {"type": "text"}
    if settings.format is not None:
        form = shown_format(settings.format)
    choice = request.tool_choice if request.tool_choice is not None else "auto"
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "queued" if request.background else "in_progress",
        "background": bool(request.background),
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "presence_penalty": request.presence_penalty or 0.0,
        "frequency_penalty": request.frequency_penalty or 0.0,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": request.reasoning.effort if request.reasoning else None, "summary": None},
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": request.store is not False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": {"format": form, "verbosity": settings.verbosity or "medium"},
        "tool_choice": choice,
        "tools": declared_tools(request.tools or ()).shown,
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": request.truncation or "disabled",
        "usage": None,
        "user": request.user,
    }


def custom_names(response: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(tool["name"] for tool in response["tools"] if tool["type"] == "custom")


def shown_format(stated: StatedFormat) -> dict[str, Any]:
    """The format in OpenAI's types; what other servers write into a format becomes a schema, or the type says it."""
    form: dict[str, Any] = {"type": stated.type if stated.type in ("text", "json_object", "json_schema") else "text"}
    if (schema := stated.form("text.format").schema) is not None:
        facts = {**(stated.model_extra or {}), "strict": stated.strict}
        form = {"type": "json_schema", "name": "answer", "schema": dict(schema)}
        form |= {name: facts[name] for name in ("name", "description", "strict") if facts.get(name) is not None}
    return form
