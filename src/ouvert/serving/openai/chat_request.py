"""What POST /v1/chat/completions takes, and what it asks of the assistant."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from ouvert.assistant import AnswerForm, ChatRequest, Message, Thinking, ToolCall, as_conversation, as_demands
from ouvert.serving import watching
from ouvert.serving.answer_form import ANY_OBJECT, in_schema
from ouvert.serving.bounds import TopLogprobs
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS
from ouvert.serving.errors import Refusal
from ouvert.serving.function_tools import DeclaredTool, as_tool
from ouvert.serving.header_lines import LEFT_OUT, without_header_lines
from ouvert.serving.openai.foreign_fields import CHAT_REFUSED, CHAT_UNKEPT, OPENAI_HARMLESS
from ouvert.serving.openai.wire import Limit, Part, SampledRequest, StreamOptions, chosen_tools, part_text
from ouvert.serving.wire import Several, Wire

INSTRUCTING = ("system", "developer")


class FunctionCall(Wire):
    name: str
    arguments: str | dict[str, Any] = "{}"


class SentToolCall(Wire):
    without_effect: ClassVar[frozenset[str]] = frozenset({"index"})

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(Wire):
    without_effect: ClassVar[frozenset[str]] = frozenset({"annotations", "cache_control", "id"})
    refused: ClassVar[Mapping[str, str]] = {
        "audio": "these models read text only; send what was said",
        "function_call": "send `tool_calls` instead",
        "images": "these models read text only; describe them in words",
        "partial": "an answer that has been begun is not continued here; send its text to /v1/completions",
        "prefix": "an answer that has been begun is not continued here; send its text to /v1/completions",
    }

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Several[Part] | None = None
    name: str | None = None
    tool_calls: Several[SentToolCall] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None


class Reasoning(Wire):
    effort: str | None = None


class TemplateSwitches(Wire):
    """What vLLM's clients send to switch thinking off."""

    enable_thinking: bool | None = None
    thinking: bool | None = None


class ThinkingSwitch(Wire):
    """What clients of DeepSeek, Kimi and GLM send."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"clear_thinking"})

    type: Literal["enabled", "disabled", "auto"]
    budget_tokens: int | None = Field(None, ge=1, le=MOST_TOKENS)


class ChatExtras(watching.Extras):
    """`progress`: a stream says how far the prompt has been read, before it says anything else.

    `truncation`: "auto" leaves out the oldest turns where there is no room for an answer, as Responses' field does.
    """

    progress: bool = False
    truncation: Literal["auto", "disabled"] = "disabled"


class ChatCompletionRequest(SampledRequest):
    without_effect: ClassVar[frozenset[str]] = OPENAI_HARMLESS
    refused: ClassVar[Mapping[str, str]] = CHAT_REFUSED
    unkept: ClassVar[Mapping[str, str]] = CHAT_UNKEPT

    model: str = Field(min_length=1, max_length=512)
    messages: Several[ChatMessage] = Field(min_length=1)
    max_completion_tokens: Limit = None
    max_tokens: Limit = None
    n: int | None = Field(None, ge=1, le=MOST_COUNT)
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    tools: Several[DeclaredTool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    reasoning: Reasoning | None = None
    think_budget: int | None = Field(None, ge=1, le=MOST_TOKENS)
    enable_thinking: bool | None = None
    thinking: bool | ThinkingSwitch | None = None
    think: bool | str | None = None
    chat_template_kwargs: TemplateSwitches | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    ouvert: ChatExtras | None = None
    modalities: Several[str] | None = None

    def stated_forms(self) -> Iterator[tuple[str, AnswerForm]]:
        yield from super().stated_forms()
        if self.format not in (None, ""):
            yield "format", ANY_OBJECT if self.format == "json" else in_schema(self.format, "format")

    @property
    def thinks(self) -> bool | None:
        """Whether the model is to think, in the words of whichever client; None where nothing is said."""
        if isinstance(self.thinking, ThinkingSwitch):
            return {"enabled": True, "disabled": False, "auto": None}[self.thinking.type]
        switches = self.chat_template_kwargs or TemplateSwitches()
        think = self.think if isinstance(self.think, bool) else None
        stated = (self.thinking, think, self.enable_thinking, switches.enable_thinking, switches.thinking)
        return next((each for each in stated if each is not None), None)

    @property
    def effort(self) -> str | None:
        word = self.reasoning_effort or (self.reasoning.effort if self.reasoning else None)
        return word or (self.think if isinstance(self.think, str) else None)

    @property
    def budget(self) -> int | None:
        """Most tokens of thought."""
        if self.think_budget is None and isinstance(self.thinking, ThinkingSwitch):
            return self.thinking.budget_tokens
        return self.think_budget


def asked(request: ChatCompletionRequest, most_choices: int) -> ChatRequest:
    """What the request asks of the assistant. Raises Refusal for what cannot be honoured."""
    if request.modalities and request.modalities != ["text"]:
        raise Refusal(
            400, "modalities: these models write text only.", code="unsupported_parameter", param="modalities"
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise Refusal(400, "top_logprobs needs logprobs: true.", code="invalid_value", param="top_logprobs")
    if request.n is not None and request.n > most_choices:
        raise Refusal(
            400,
            f"n is {request.n}, and this server writes {most_choices} choices at most.",
            code="invalid_value",
            param="n",
        )
    tools, choice = chosen_tools([as_tool(tool.function) for tool in request.tools or ()], request.tool_choice)
    sampling = request.sampling()
    limit = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    if limit is not None:
        sampling["max_tokens"] = limit
    if request.logprobs:
        sampling["logprobs"] = request.top_logprobs or 0
    messages = [as_message(message, n) for n, message in enumerate(request.messages)]
    conversation = as_conversation(messages, tools, schema=request.form.schema)
    return ChatRequest(
        conversation=conversation,
        demands=as_demands(
            choice,
            tools,
            request.form,
            think_budget=request.budget,
            one_call=request.parallel_tool_calls is False,
        ),
        thinking=Thinking(effort=request.effort, enabled=request.thinks),
        lenient=True,
        sampling=sampling,
        stop=request.stops,
        truncate=request.ouvert is not None and request.ouvert.truncation == "auto",
        progress=bool(request.stream and request.ouvert and request.ouvert.progress),
    )


def as_message(message: ChatMessage, n: int) -> Message:
    reasoning = message.reasoning if message.reasoning is not None else message.reasoning_content
    texts = texts_of(message.content, f"messages[{n}].content")
    if message.role in INSTRUCTING:
        texts = [without_header_lines(text) for text in texts]
    return Message(
        role=message.role,
        content="".join(texts) or message.refusal or "",
        reasoning=reasoning if message.role == "assistant" else None,
        tool_calls=tuple(as_call(call) for call in message.tool_calls or ()) if message.role == "assistant" else (),
        tool_call_id=message.tool_call_id,
        name=message.name,
    )


def as_call(call: SentToolCall) -> ToolCall:
    from json import dumps

    arguments = call.function.arguments
    text = arguments if isinstance(arguments, str) else dumps(arguments, ensure_ascii=False)
    return ToolCall(call.id, call.function.name, text)


def texts_of(content: str | Sequence[Part] | None, where: str) -> list[str]:
    """The text of every part of a message. Raises Refusal for a part that is not text."""
    if content is None or isinstance(content, str):
        return [content or ""]
    return [part_text(part, f"{where}[{n}]") for n, part in enumerate(content)]


def notes_on_instructions(messages: Sequence[ChatMessage]) -> Iterator[str]:
    """Whether lines of them are left out."""
    for message in messages:
        if message.role in INSTRUCTING and any(
            text != without_header_lines(text) for text in texts_of(message.content, "messages")
        ):
            yield LEFT_OUT
            return
