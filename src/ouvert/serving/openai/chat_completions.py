"""POST /v1/chat/completions: OpenAI's Chat Completions, a translation of the assistant's events."""

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field
from starlette.responses import Response

from ouvert.assistant import (
    Event,
    Finished,
    Message,
    Reading,
    ReasoningDelta,
    ScoredText,
    ScoredToken,
    TextDelta,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from ouvert.serving import receipts
from ouvert.serving.answer_form import ANY_OBJECT, Form, FormedRequest, StatedFormat, in_schema
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.bounds import Bias, OpenAITemperature, Penalty, RepetitionPenalty, Share, StopList, TopLogprobs
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS, Call, Endpoint
from ouvert.serving.errors import Refusal, openai_error, refusal_of
from ouvert.serving.foreign_fields import CHAT_REFUSED, CHAT_UNKEPT, OPENAI_HARMLESS
from ouvert.serving.header_lines import LEFT_OUT, without_header_lines
from ouvert.serving.service import Ask
from ouvert.serving.streams import JSONAnswer, Streamed, sse, unless_gone
from ouvert.serving.wire import Several, Wire

DONE = b"data: [DONE]\n\n"
TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal", "summary_text", "reasoning_text"})
INSTRUCTING = ("system", "developer")
MOST_BIASED = 4096  # tokens; OpenAI's clients send a few hundred
LOWEST_LOGPROB = -9999.0  # OpenAI's way to say "never"
# Why an answer ended -> what OpenAI calls it. One that was cut off, by whatever, is not whole: "length".
FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "cancelled": "length",
    "timeout": "length",
    "repetition": "length",
}


def unlimited_is_none(value: Any) -> Any:
    """n8n writes -1 where it means no limit."""
    return None if value == -1 and not isinstance(value, bool) else value


Limit = Annotated[Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None, BeforeValidator(unlimited_is_none)]


class Part(Wire):
    """A piece of a message. This server's models read text."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"annotations", "cache_control", "id", "logprobs"})

    type: str
    text: str | None = None
    refusal: str | None = None


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


class DeclaredFunction(Wire):
    name: str = Field(min_length=1, max_length=256)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class DeclaredTool(Wire):
    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_control"})

    type: Literal["function"] = "function"
    function: DeclaredFunction


class StreamOptions(Wire):
    without_effect: ClassVar[frozenset[str]] = frozenset({"include_obfuscation"})

    include_usage: bool | None = None


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


class SampledRequest(FormedRequest):
    """How tokens are chosen, and what the answer has to be: fields that several endpoints share.

    What is left out is as the model's makers advise.
    """

    temperature: OpenAITemperature | None = None
    top_p: Share | None = None
    top_k: int | None = Field(None, ge=-1, le=MOST_COUNT)
    min_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    repetition_guard: Annotated[int, Field(ge=0, le=MOST_COUNT)] | None = None
    logit_bias: Annotated[dict[Annotated[str, Field(max_length=10)], Bias], Field(max_length=MOST_BIASED)] | None = None
    seed: int | None = None
    stop: str | StopList | None = None
    response_format: StatedFormat | None = None

    def stated_forms(self) -> Iterator[tuple[str, Form]]:
        if self.response_format is not None and self.response_format.type != "text":
            yield "response_format", self.response_format.form("response_format")
        yield from super().stated_forms()

    @property
    def stops(self) -> tuple[str, ...]:
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return tuple(stop for stop in stops if stop)

    def sampling(self) -> dict[str, Any]:
        """Fields of `Model.sampling`. A top_p of 0 keeps the likeliest token alone; a seed may be any whole number."""
        chosen: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": None if self.top_p is None else max(self.top_p, 1e-9),
            "top_k": None if self.top_k is None else max(self.top_k, 0),
            "min_p": self.min_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty,
            "repetition_guard": self.repetition_guard,
            "logit_bias": None if not self.logit_bias else bias_by_token(self.logit_bias),
            "seed": None if self.seed is None else self.seed % 2**64,
        }
        return {name: value for name, value in chosen.items() if value is not None}


class ChatExtras(receipts.Extras):
    """`progress`: a stream says how far the prompt has been read, before it says anything else.

    `truncation`: "auto" leaves out the oldest turns where there is no room for an answer, as Responses' field does.
    """

    progress: bool = False
    truncation: Literal["auto", "disabled"] = "disabled"


class ChatRequest(SampledRequest):
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

    def stated_forms(self) -> Iterator[tuple[str, Form]]:
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


def bias_by_token(bias: Mapping[str, float]) -> dict[int, float]:
    try:
        return {int(token): value for token, value in bias.items()}
    except ValueError:
        raise Refusal(
            400, "logit_bias: its keys are token ids, written as digits.", code="invalid_value", param="logit_bias"
        ) from None


def asked(request: ChatRequest, most_choices: int) -> Ask:
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
    form = request.form
    return Ask(
        model=request.model,
        messages=[as_message(message, n) for n, message in enumerate(request.messages)],
        tools=tools,
        tool_choice=choice,
        parallel=request.parallel_tool_calls is not False,
        effort=request.effort,
        thinking=request.thinks,
        think_budget=request.budget,
        schema=form.schema,
        strict_schema=form.strict,
        grammar=form.grammar,
        notes=(*request.unknown, *notes_on_instructions(request.messages)),
        stop=request.stops,
        sampling=sampling,
        choices=request.n or 1,
        truncates=request.ouvert is not None and request.ouvert.truncation == "auto",
        progress=bool(request.stream and request.ouvert and request.ouvert.progress),
    )


def as_tool(function: DeclaredFunction) -> Tool:
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=function.parameters,
        strict=bool(function.strict),
    )


def chosen_tools(
    tools: list[Tool], choice: str | Mapping[str, Any] | None
) -> tuple[list[Tool], str | Mapping[str, Any]]:
    """The tools that may be called, and the choice in the assistant's words: auto, none, required or OpenAI's dict."""
    match choice:
        case None:
            return tools, "auto"
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(listed)}} | {
            "type": "allowed_tools",
            "mode": mode,
            "tools": list(listed),
        }:
            names = {name for each in listed if (name := tool_name(each)) is not None}
            return [tool for tool in tools if tool.name in names], "required" if mode == "required" else "auto"
        case str() if choice not in ("auto", "none", "required"):
            raise Refusal(
                400,
                f"tool_choice is {choice!r:.80}, expected auto, none, required or "
                "{'type': 'function', 'function': {'name': ...}}.",
                code="invalid_value",
                param="tool_choice",
            )
    return tools, choice


def tool_name(listed: Any) -> str | None:
    match listed:
        case {"function": {"name": str(name)}} | {"name": str(name)}:
            return name
    return None


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


def part_text(part: Part, where: str) -> str:
    if part.type not in TEXT_PARTS:
        raise Refusal(
            400,
            f"{where} is of the type {part.type!r:.40}, and these models read text only. Describe it in words.",
            code="unsupported_content",
            param=where,
        )
    text = part.text if part.text is not None else part.refusal
    if text is None:
        name = "refusal" if part.type == "refusal" else "text"
        raise Refusal(
            400,
            f"{where}.{name} is missing or null, expected text, as the part is of the type {part.type!r}. Send it.",
            code="invalid_value",
            param=f"{where}.{name}",
        )
    return text


# --- what goes out --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Choice:
    """One answer as far as it has come."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tokens: list[ScoredToken] = field(default_factory=list)
    finished: Finished | None = None

    def take(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self.text.append(text)
                if isinstance(event, ScoredText):
                    self.tokens += event.tokens
            case ReasoningDelta(text):
                self.reasoning.append(text)
            case Finished():
                self.finished = event


async def chat_completions(call: Call) -> Response:
    request: ChatRequest = call.body
    ask = asked(request, call.service.settings.most_choices)
    answer_id = "chatcmpl-" + secrets.token_hex(12)
    answer = await unless_gone(call.request, call.service.answer(ask, call.caller, answer_id))
    headers = {receipts.HEADER: answer_id}
    full = receipts.wants_full(call.request, request.ouvert)
    if request.stream:
        settings = call.service.settings
        include_usage = bool(request.stream_options and request.stream_options.include_usage)
        return Streamed(
            chunks(answer, ask, scored=bool(request.logprobs), include_usage=include_usage, full=full),
            answer.close,
            ping_seconds=settings.ping_seconds,
            headers=headers,
        )
    try:
        choices = await unless_gone(call.request, collected(answer, ask.choices))
    finally:
        await answer.close()
    return JSONAnswer(completion(answer, choices, scored=bool(request.logprobs), full=full), headers=headers)


async def collected(answer: AnswerInProgress[Event], count: int) -> list[Choice]:
    choices = [Choice() for _ in range(count)]
    async for number, event in answer:
        choices[number].take(event)
    return choices


def completion(
    answer: AnswerInProgress[Event], choices: Sequence[Choice], *, scored: bool, full: bool
) -> dict[str, Any]:
    ended = [choice.finished for choice in choices if choice.finished is not None]
    field = receipts.beside(answer.id, [each.receipt for each in ended], full=full, notes=answer.notes)
    return {
        **frame(answer, "chat.completion"),
        "choices": [whole_choice(n, choice, scored=scored) for n, choice in enumerate(choices)],
        "usage": usage_of([each.usage for each in ended]),
        "ouvert": field,
    }


def whole_choice(index: int, choice: Choice, *, scored: bool) -> dict[str, Any]:
    calls = () if choice.finished is None else choice.finished.tool_calls
    text = "".join(choice.text)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if calls and not text else text,  # what stands beside calls is said here as in a stream
        "refusal": None,
    }
    if reasoning := "".join(choice.reasoning):
        message["reasoning"] = message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    return {
        "index": index,
        "message": message,
        "logprobs": logprobs_of(choice.tokens) if scored else None,
        "finish_reason": FINISH_REASONS["cancelled" if choice.finished is None else choice.finished.reason],
    }


def frame(answer: AnswerInProgress[Any], kind: str) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": kind,
        "created": answer.created,
        "model": answer.name,
        "system_fingerprint": answer.fingerprint,
    }


async def chunks(
    answer: AnswerInProgress[Event], ask: Ask, *, scored: bool, include_usage: bool, full: bool
) -> AsyncIterator[bytes]:
    """The chunks of a stream, each one event. What goes wrong on the way is said in the stream."""
    head = frame(answer, "chat.completion.chunk")
    if include_usage:
        head["usage"] = None

    def chunk(number: int, delta: Mapping[str, Any], reason: str | None = None, logprobs: Any = None) -> bytes:
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return sse({**head, "choices": [choice]})

    for number in range(ask.choices):
        yield chunk(number, {"role": "assistant", "content": "", "refusal": None})
    ended: dict[int, Finished] = {}
    try:
        async for number, event in answer:
            match event:
                case TextDelta(text):
                    tokens = logprobs_of(event.tokens) if scored and isinstance(event, ScoredText) else None
                    yield chunk(number, {"content": text}, logprobs=tokens)
                case ReasoningDelta(text):
                    yield chunk(number, {"reasoning": text, "reasoning_content": text})
                case ToolCallDelta():
                    for piece in call_pieces(event):
                        yield chunk(number, {"tool_calls": [piece]})
                case Reading():
                    yield sse({**head, "choices": [], "ouvert": {"reading": {"index": number, **reading_of(event)}}})
                case Finished():
                    ended[number] = event
                    if len(ended) < ask.choices:
                        yield chunk(number, {}, FINISH_REASONS[event.reason])
                    else:
                        field = receipts.beside(
                            answer.id, [ended[n].receipt for n in sorted(ended)], full=full, notes=answer.notes
                        )
                        choice = {
                            "index": number,
                            "delta": {},
                            "logprobs": None,
                            "finish_reason": FINISH_REASONS[event.reason],
                        }
                        yield sse({**head, "choices": [choice], "ouvert": field})
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            raise
        yield sse(openai_error(refusal))
        return
    if include_usage:
        yield sse({**head, "choices": [], "usage": usage_of([each.usage for each in ended.values()])})
    yield DONE


def reading_of(event: Reading) -> dict[str, Any]:
    left = event.seconds_left
    return {
        "done": event.done,
        "total": event.total,
        "reused": event.reused,
        "seconds": round(event.seconds, 3),
        "seconds_left": None if left is None else round(left, 3),
    }


def call_pieces(event: ToolCallDelta) -> Iterator[dict[str, Any]]:
    """The first piece of a call has its id and name and no arguments; later ones have nothing but arguments."""
    if event.id is not None:
        function = {"name": event.name, "arguments": ""}
        yield {"index": event.index, "id": event.id, "type": "function", "function": function}
    if event.arguments:
        yield {"index": event.index, "function": {"arguments": event.arguments}}


def usage_of(usages: Sequence[Usage]) -> dict[str, Any]:
    """Of all choices together: the prompt counts once."""
    prompt = max((usage.prompt for usage in usages), default=0)
    output = sum(usage.output for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": min((usage.reused for usage in usages), default=0)},
        "completion_tokens_details": {"reasoning_tokens": sum(usage.reasoning for usage in usages)},
    }


def logprobs_of(tokens: Sequence[ScoredToken]) -> dict[str, Any]:
    return {"content": [scored_token(token) for token in tokens], "refusal": None}


def scored_token(token: ScoredToken) -> dict[str, Any]:
    top = [spelled(text, logprob) for _, text, logprob in token.top]
    return {**spelled(token.spelled, token.logprob), "top_logprobs": top}


def spelled(text: bytes, logprob: float) -> dict[str, Any]:
    return {
        "token": text.decode("utf-8", "replace"),
        "bytes": list(text),
        "logprob": max(logprob, LOWEST_LOGPROB),
    }


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/chat/completions",
        handler=chat_completions,
        summary="Answer a conversation",
        body=ChatRequest,
    ),
)
