"""/api/…: Ollama's interface, a translation of the assistant's events (docs/formats/ollama-api.md)."""

import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from starlette.responses import Response

from ouvert.assistant import (
    Event,
    Finished,
    Message,
    ReasoningDelta,
    ScoredText,
    ScoredToken,
    TextDelta,
    Tool,
    ToolCall,
    Usage,
)
from ouvert.serving import receipts
from ouvert.serving.answer_form import ANY_OBJECT, Form, FormedRequest
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.body import TOKEN_VALUES, refuse_constant
from ouvert.serving.bounds import OllamaTemperature, Penalty, RepetitionPenalty, Share, StopList, TopLogprobs
from ouvert.serving.catalog import LATEST, created_at
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS, Call, Endpoint
from ouvert.serving.errors import Refusal, ollama_error, refusal_of
from ouvert.serving.foreign_fields import IN_OPTIONS, OLLAMA_REFUSED, OPTIONS_HARMLESS, OPTIONS_REFUSED
from ouvert.serving.openai.chat_completions import DeclaredTool, as_tool, scored_token
from ouvert.serving.openai.completions import GAP_TOKENS, CompletionRequest, CompletionTask, Echoed
from ouvert.serving.openai.embeddings import MOST_TEXTS, embedded
from ouvert.serving.service import EFFORTS, Ask
from ouvert.serving.streams import JSONAnswer, Streamed, as_json, json_text, unless_gone
from ouvert.serving.wire import Several, Wire
from ouvert.store import Installed

# Clients ask for features by it: VS Code wants 0.6.4 at least, `think` came with 0.9.0, logprobs with 0.12.11.
VERSION = "0.12.11"
NDJSON = "application/x-ndjson"
NANO = 1_000_000_000
LONGEST = 100 * 365 * 86400.0  # seconds that a model may be kept
FOR_GOOD = timedelta(days=365 * 100)  # when a model goes that stays: Ollama, too, names a day far away
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class Options(Wire):
    """How tokens are chosen. Those that say how Ollama should use a machine are ignored: this server knows its own."""

    without_effect: ClassVar[frozenset[str]] = OPTIONS_HARMLESS
    refused: ClassVar[Mapping[str, str]] = OPTIONS_REFUSED
    unkept: ClassVar[Mapping[str, str]] = {"penalize_newline": "penalties treat a line break as any other token"}

    num_ctx: int | None = Field(None, ge=1, le=MOST_TOKENS)
    num_predict: int | None = Field(None, ge=-2, le=MOST_TOKENS)
    temperature: OllamaTemperature | None = None
    top_k: int | None = Field(None, ge=-1, le=MOST_COUNT)
    top_p: Share | None = None
    min_p: Share | None = None
    repeat_penalty: RepetitionPenalty | None = None
    repeat_last_n: int | None = Field(None, ge=-1, le=MOST_TOKENS)
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: int | None = None
    stop: str | StopList | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return tuple(stop for stop in stops if stop)

    def sampling(self) -> dict[str, Any]:
        """Fields of `Model.sampling`."""
        chosen = {
            "temperature": self.temperature,
            "top_p": None if self.top_p is None else max(self.top_p, 1e-9),
            "top_k": None if self.top_k is None else max(self.top_k, 0),
            "min_p": self.min_p,
            "repetition_penalty": self.repeat_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "seed": None if self.seed is None else self.seed % 2**64,
            # -1: without a limit, -2: until the context is full; both are what happens without one.
            "max_tokens": self.num_predict if self.num_predict is not None and self.num_predict >= 1 else None,
        }
        return {name: value for name, value in chosen.items() if value is not None}

    def not_kept(self, context: int) -> list[str]:
        """What cannot be promised, and harms nobody."""
        notes = []
        if self.num_ctx is not None and self.num_ctx > context:
            notes.append(f"options.num_ctx: this server gives {context}")
        if self.repeat_last_n not in (None, -1) and self.repeat_penalty not in (None, 1.0):
            notes.append("options.repeat_last_n: penalties look at the whole text")
        return notes


class CalledFunction(Wire):
    without_effect: ClassVar[frozenset[str]] = frozenset({"index"})

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class SentCall(Wire):
    without_effect: ClassVar[frozenset[str]] = frozenset({"index", "type"})

    id: str | None = None
    function: CalledFunction


class OllamaMessage(Wire):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: Several[Any] | None = None
    tool_calls: Several[SentCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class Asked(FormedRequest):
    """What /api/chat and /api/generate have in common."""

    refused: ClassVar[Mapping[str, str]] = OLLAMA_REFUSED

    @model_validator(mode="before")
    @classmethod
    def put_into_options(cls, sent: Any) -> Any:
        """What belongs into options and stands beside them is taken as if it stood there; what stands there counts."""
        if not isinstance(sent, dict):
            return sent
        options = sent.get("options")
        beside = {IN_OPTIONS[name]: sent[name] for name in IN_OPTIONS if sent.get(name) is not None}
        if not beside or not isinstance(options, dict | None):
            return sent
        kept = {name: value for name, value in sent.items() if name not in IN_OPTIONS}
        return {**kept, "options": beside | (options or {})}

    model: str = Field(min_length=1, max_length=512)
    stream: bool | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None
    think: bool | str | None = None
    options: Options | None = None
    keep_alive: float | str | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    ouvert: receipts.Extras | None = None

    @property
    def chosen(self) -> Options:
        return self.options or Options.model_validate({})

    @property
    def sampling(self) -> dict[str, Any]:
        sampling = self.chosen.sampling()
        if self.logprobs:
            sampling["logprobs"] = self.top_logprobs or 0
        return sampling

    def stated_forms(self) -> Iterator[tuple[str, Form]]:
        if isinstance(self.format, dict):
            yield "format", Form(schema=self.format)
        elif self.format == "json":
            yield "format", ANY_OBJECT
        yield from super().stated_forms()

    @property
    def held_to(self) -> dict[str, Any]:
        """`schema` or `grammar` of an Ask."""
        form = self.form
        return {"schema": form.schema, "grammar": form.grammar}

    @property
    def thought(self) -> dict[str, Any]:
        """`effort` or `thinking` of an Ask. Raises Refusal."""
        if isinstance(self.think, str):
            if self.think not in EFFORTS:
                raise Refusal(
                    400,
                    f"think is {self.think!r:.80}, expected true, false, or one of {', '.join(EFFORTS)}.",
                    code="invalid_value",
                    param="think",
                )
            return {"effort": self.think}
        return {"thinking": self.think}


class OllamaChat(Asked):
    refused: ClassVar[Mapping[str, str]] = {
        **OLLAMA_REFUSED,
        "prompt": "send it as a message, or to /api/generate",
        "suffix": "send the text to /api/generate",
        "system": "send it as a message of the role system",
        "template": "a model's own template is used; /api/generate with raw: true takes the prompt as it is",
    }

    messages: Several[OllamaMessage] = Field(default_factory=list)
    tools: Several[DeclaredTool] | None = None


class OllamaGenerate(Asked):
    refused: ClassVar[Mapping[str, str]] = {
        **OLLAMA_REFUSED,
        "context": "send the conversation to /api/chat; what was read before is kept and not read again",
        "height": "these models write text only",
        "messages": "send them to /api/chat",
        "steps": "these models write text only",
        "template": "a model's own template is used; send raw: true to write all of the prompt yourself",
        "tools": "send messages and tools to /api/chat",
        "width": "these models write text only",
    }

    prompt: str = ""
    system: str | None = None
    suffix: str | None = None
    raw: bool | None = None
    images: Several[Any] | None = None


class ModelRequest(Wire):
    """A model by either of the names that clients use for the field."""

    model: str | None = Field(None, max_length=512)
    name: str | None = Field(None, max_length=512)

    @property
    def named(self) -> str:
        if not (name := self.model or self.name):
            raise Refusal(400, "model is missing. Name one; /api/tags lists them.", code="invalid_value", param="model")
        return name


class OllamaTexts(ModelRequest):
    keep_alive: float | str | None = None
    options: dict[str, Any] | None = None  # of answers; none concerns vectors

    @property
    def keep(self) -> float | None:
        return float("nan") if self.keep_alive is None else seconds_of(self.keep_alive)


class OllamaEmbed(OllamaTexts):
    """`truncate`: of a text that does not fit, what fits; so it is without."""

    input: str | Annotated[Several[str], Field(max_length=MOST_TEXTS)] = Field(default_factory=list)
    truncate: bool | None = None
    dimensions: int | None = Field(None, ge=1, le=MOST_COUNT)


class OllamaEmbedding(OllamaTexts):
    prompt: str = Field(min_length=1)


def messages_of(sent: Sequence[OllamaMessage]) -> list[Message]:
    """In the assistant's words. Ollama's calls and results need no ids: a result without one answers the oldest call
    of its name, or simply the oldest, that has no result yet."""
    messages: list[Message] = []
    open_calls: list[ToolCall] = []
    for n, message in enumerate(sent):
        refuse_images(message.images, f"messages[{n}].images")
        calls = tuple(
            ToolCall(
                call.id or f"call_{n}_{k}",
                call.function.name,
                json_text(call.function.arguments),
            )
            for k, call in enumerate(message.tool_calls or ())
        )
        answered: str | None = None
        if message.role == "assistant":
            open_calls = list(calls)
        elif message.role == "tool":
            answered = message.tool_call_id
            if answered is None and open_calls:
                fitting = [call for call in open_calls if call.name == message.tool_name] or open_calls
                answered = fitting[0].id
            open_calls = [call for call in open_calls if call.id != answered]
        messages.append(
            Message(
                role=message.role,
                content=message.content or "",
                reasoning=message.thinking if message.role == "assistant" else None,
                tool_calls=calls if message.role == "assistant" else (),
                tool_call_id=answered,
                name=message.tool_name,
            )
        )
    return messages


def refuse_images(images: Sequence[Any] | None, where: str) -> None:
    if images:
        raise Refusal(
            400, f"{where}: these models read text only. Describe it in words.", code="unsupported_content", param=where
        )


NOT_YOURS_TO_KEEP = "how long a model stays in memory is said by the owner of this server, or with a key."


def seconds_of(keep_alive: float | str) -> float | None:
    """How long a model stays: a number of seconds or a duration like "5m" or "1h30m"; below 0: for good, None.

    Raises Refusal.
    """
    if isinstance(keep_alive, str):
        text = keep_alive.strip()
        sign, digits = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
        parts = DURATION.findall(digits)
        if "".join(number + unit for number, unit in parts) == digits and parts:
            keep_alive = sign * sum(float(number) * SECONDS[unit] for number, unit in parts)
        elif re.fullmatch(r"\d+(\.\d*)?", digits):
            keep_alive = sign * float(digits)
        else:
            raise Refusal(
                400,
                f'keep_alive is {text!r:.80}, expected seconds, or a duration like "5m".',
                code="invalid_value",
                param="keep_alive",
            )
    return None if keep_alive < 0 else min(keep_alive, LONGEST)


class ShowRequest(ModelRequest):
    without_effect: ClassVar[frozenset[str]] = frozenset({"options", "template"})
    unkept: ClassVar[Mapping[str, str]] = {
        "system": "nothing is set here; send it with a conversation",
        "verbose": "all that is known is said in any case",
    }


class PullRequest(ModelRequest):
    without_effect: ClassVar[frozenset[str]] = frozenset({"insecure"})

    stream: bool | None = None


# --- answers --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Held:
    """One answer on its way out. `shape` puts a piece into the fields of its endpoint."""

    model: str
    shape: Callable[[str, str | None, Sequence[ToolCall]], dict[str, Any]]
    began: float
    loaded: float
    scored: bool
    full: bool
    notes: list[str] = field(default_factory=list)

    def line(self, text: str = "", thinking: str | None = None, calls: Sequence[ToolCall] = ()) -> dict[str, Any]:
        return {"model": self.model, "created_at": now(), **self.shape(text, thinking, calls), "done": False}

    def last(self, reason: str, usage: Usage, seconds: Mapping[str, float]) -> dict[str, Any]:
        """The line that ends an answer. Durations are in nanoseconds."""
        read, written = seconds.get("prefill", 0.0), seconds.get("decode", 0.0)
        return {
            "done": True,
            "done_reason": "length" if reason in ("length", "repetition", "cancelled", "timeout") else "stop",
            "total_duration": int((time.monotonic() - self.began) * NANO),
            "load_duration": int(self.loaded * NANO),
            "prompt_eval_count": usage.prompt,
            "prompt_eval_duration": int(read * NANO),
            "eval_count": usage.output,
            "eval_duration": int(written * NANO),
        }


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def as_object(arguments: str) -> dict[str, Any]:
    """The arguments of a call. What a model wrote that is no JSON object is handed on as it is, not dropped."""
    try:
        found = json.loads(arguments or "{}", parse_constant=refuse_constant)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"arguments": arguments}


def as_chat(text: str, thinking: str | None, calls: Sequence[ToolCall]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking is not None:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "function": {"index": n, "name": call.name, "arguments": as_object(call.arguments)}}
            for n, call in enumerate(calls)
        ]
    return {"message": message}


def as_generated(text: str, thinking: str | None, _calls: Sequence[ToolCall]) -> dict[str, Any]:
    return {"response": text} if thinking is None else {"response": text, "thinking": thinking}


def logprobs_of(tokens: Sequence[ScoredToken]) -> list[dict[str, Any]]:
    return [scored_token(token) for token in tokens]


async def lines(
    answer: AnswerInProgress[Event] | AnswerInProgress[Event | Echoed], held: Held
) -> AsyncIterator[dict[str, Any]]:
    """The objects of an answer. Those before the last are pieces; the last has counts and durations."""
    async for _, event in answer:
        match event:
            case TextDelta(text):
                line = held.line(text)
                if held.scored and isinstance(event, ScoredText):
                    line["logprobs"] = logprobs_of(event.tokens)
                yield line
            case ReasoningDelta(text):
                yield held.line(thinking=text)
            case Finished():
                if event.tool_calls:
                    yield held.line(calls=event.tool_calls)
                beside = receipts.beside(answer.id, [event.receipt], full=held.full, notes=answer.notes + held.notes)
                ended = held.last(event.reason, event.usage, event.receipt["seconds"])
                yield held.line() | ended | {"ouvert": beside}


def joined(pieces: Sequence[Mapping[str, Any]], shape: str) -> dict[str, Any]:
    """All lines of an answer as the one object that is sent where nothing is streamed."""
    whole = dict(pieces[-1])
    inner = [piece["message"] if shape == "chat" else piece for piece in pieces]
    key = "content" if shape == "chat" else "response"
    target = dict(whole["message"]) if shape == "chat" else whole
    target[key] = "".join(piece[key] for piece in inner)
    if thinking := "".join(piece.get("thinking", "") for piece in inner):
        target["thinking"] = thinking
    for piece in inner:
        if "tool_calls" in piece:
            target["tool_calls"] = piece["tool_calls"]
    if shape == "chat":
        whole["message"] = target
    scored = [token for piece in pieces for token in piece.get("logprobs", ())]
    return whole | ({"logprobs": scored} if scored else {})


async def streamed(found: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    """One object a line, each in one write. What goes wrong on the way is said in the stream."""
    try:
        async for line in found:
            yield as_json(line) + b"\n"
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            raise
        yield as_json(ollama_error(refusal)) + b"\n"


async def answered(
    call: Call,
    answer: AnswerInProgress[Any],
    found: AsyncIterator[dict[str, Any]],
    request: Asked,
    shape: str,
) -> Response:
    if request.keep_alive is not None and call.caller.keeps_models:
        answer.keep = seconds_of(request.keep_alive)
    elif request.keep_alive is not None:
        answer.notes += (f"keep_alive: {NOT_YOURS_TO_KEEP}",)
    headers = {receipts.HEADER: answer.id}
    if request.stream is not False:
        settings = call.service.settings
        return Streamed(
            streamed(found),
            answer.close,
            ping=None,  # a line that is no object would end some clients
            ping_seconds=settings.ping_seconds,
            headers=headers,
            media_type=NDJSON,
        )
    try:
        pieces = await unless_gone(call.request, collected(found))
    finally:
        await answer.close()
    return JSONAnswer(joined(pieces, shape), headers=headers)


async def collected(found: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line async for line in found]


async def begun(call: Call, request: Asked, tools: Sequence[Tool], shape: Callable[..., dict[str, Any]]) -> Held:
    """The model in memory, and whether it can do what is asked for. Raises Refusal."""
    began = time.monotonic()
    if request.keep_alive is not None:
        seconds_of(request.keep_alive)
    held = Held(
        model=request.model,
        shape=shape,
        began=began,
        loaded=0.0,
        scored=bool(request.logprobs),
        full=receipts.wants_full(call.request, request.ouvert),
    )
    lease = await unless_gone(call.request, call.service.borrow(request.model, call.caller))
    held.loaded = time.monotonic() - began
    try:
        held.notes = request.chosen.not_kept(lease.model.engine.context)
        if request.top_logprobs is not None and not request.logprobs:
            raise Refusal(400, "top_logprobs needs logprobs: true.", code="invalid_value", param="top_logprobs")
        if tools or request.think not in (None, False, "none"):
            abilities = lease.model.chat_format.abilities
            for wanted, able, what in (
                (tools, abilities.tools, "tools"),
                (request.think not in (None, False, "none"), abilities.thinks, "thinking"),
            ):
                if wanted and not able:
                    sentence = f"{request.model!r:.200} does not support {what}. /api/show says what a model can do."
                    raise Refusal(400, sentence, code="unsupported_parameter")
    finally:
        lease.give_back()
    return held


async def chat(call: Call) -> Response:
    request: OllamaChat = call.body
    if not request.messages:
        return await only_loaded(call, request, as_chat)
    tools = [as_tool(tool.function) for tool in request.tools or ()]
    ask = Ask(
        model=request.model,
        messages=messages_of(request.messages),
        tools=tools,
        stop=request.chosen.stops,
        sampling=request.sampling,
        **request.held_to,
        notes=request.unknown,
        **request.thought,
    )
    held = await begun(call, request, tools, as_chat)
    answer = await unless_gone(call.request, call.service.answer(ask, call.caller, new_id()))
    return await answered(call, answer, lines(answer, held), request, "chat")


async def generate(call: Call) -> Response:
    request: OllamaGenerate = call.body
    refuse_images(request.images, "images")
    if not request.prompt and not request.suffix:
        return await only_loaded(call, request, as_generated)
    if request.raw or request.suffix:
        return await continued(call, request)
    system = [Message(role="system", content=request.system)] if request.system else []
    ask = Ask(
        model=request.model,
        messages=[*system, Message(role="user", content=request.prompt)],
        stop=request.chosen.stops,
        sampling=request.sampling,
        **request.held_to,
        notes=request.unknown,
        **request.thought,
    )
    held = await begun(call, request, (), as_generated)
    answer = await unless_gone(call.request, call.service.answer(ask, call.caller, new_id()))
    return await answered(call, answer, lines(answer, held), request, "generate")


async def continued(call: Call, request: OllamaGenerate) -> Response:
    """A text as it is, or the gap between two, without a template: what editors complete code with."""
    for name in ("format", "think", "system", "logprobs"):
        if getattr(request, name):
            raise Refusal(
                400,
                f"{name} needs the model's template, which raw and suffix leave out. Leave {name} out.",
                code="unsupported_parameter",
                param=name,
            )
    sampling = request.sampling
    limit = sampling.pop("max_tokens", -1)
    wanted = CompletionRequest.model_construct(  # of values that were checked by this dialect's bounds
        model=request.model,
        prompt=request.prompt,
        suffix=request.suffix,
        max_tokens=limit,
        stop=list(request.chosen.stops),
        **sampling,
    )
    task = CompletionTask(wanted, call.service.settings.answer_seconds)
    held = await begun(call, request, (), as_generated)
    answer = await unless_gone(call.request, call.service.begin(task, call.caller, new_id()))
    answer.notes += request.unknown
    return await answered(call, answer, lines(answer, held), request, "generate")


async def only_loaded(call: Call, request: Asked, shape: Callable[..., dict[str, Any]]) -> Response:
    """Without anything to answer a model is loaded, or let go with `keep_alive: 0`."""
    keep = float("nan") if request.keep_alive is None else seconds_of(request.keep_alive)
    if request.keep_alive is not None and not call.caller.keeps_models:
        raise Refusal(403, f"keep_alive: {NOT_YOURS_TO_KEEP} Leave it out.", code="not_yours", param="keep_alive")
    reason = "load"
    if keep == 0:
        lease = await unless_gone(call.request, call.service.borrow(request.model, call.caller))  # if the caller may
        lease.give_back(0.0)
        reason = "unload"
        await call.service.loaded_models.release(request.model)
    else:
        lease = await unless_gone(call.request, call.service.borrow(request.model, call.caller))
        lease.give_back(keep)
    held = Held(model=request.model, shape=shape, began=time.monotonic(), loaded=0.0, scored=False, full=False)
    line = held.line() | {"done": True, "done_reason": reason} | request.beside
    if request.stream is False:
        return JSONAnswer(line)
    return Response(as_json(line) + b"\n", media_type=NDJSON)


def new_id() -> str:
    return "ollama-" + secrets.token_hex(12)


# --- models ---------------------------------------------------------------------------------------------------------


def tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else name + LATEST


def parameter_size(count: int) -> str:
    """7240000000 -> "7.2B", as Ollama writes it."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if unit in "TB" else f"{count / size:.2f}{unit}"
    return str(count)


def details(call: Call, installed: Installed) -> dict[str, Any]:
    """What is known of a model without opening it; of one in memory, its family and size too."""
    model = call.service.loaded_models.model_of(installed.name)
    family = "" if model is None else model.info.family
    names = [file.name for file in installed.files] or [installed.path.name]
    return {
        "parent_model": "",
        "format": "gguf" if any(name.endswith(".gguf") for name in names) else "safetensors",
        "family": family,
        "families": [family] if family else [],
        "parameter_size": "" if model is None else parameter_size(model.info.parameters),
        "quantization_level": "",
    }


def listed(call: Call, installed: Installed) -> dict[str, Any]:
    name = tagged(installed.name)
    return {
        "name": name,
        "model": name,
        "modified_at": created_at(installed).isoformat().replace("+00:00", "Z"),
        "size": installed.size,
        "digest": (installed.digest or "").removeprefix("sha256:"),
        "details": details(call, installed),
    }


def admitted(call: Call, installed: Installed) -> bool:
    return call.caller.admits(installed.name)


async def tags(call: Call) -> Response:
    every = call.service.loaded_models.catalog.every()
    return JSONAnswer({"models": [listed(call, installed) for installed in every if admitted(call, installed)]})


async def in_memory(call: Call) -> Response:
    loaded_models = call.service.loaded_models
    models = []
    for loaded in loaded_models.loaded():
        if not admitted(call, loaded.installed) or loaded.model is None:
            continue
        stays = loaded_models.expires_in(loaded)
        until = datetime.now(UTC) + (FOR_GOOD if stays is None else timedelta(seconds=stays))
        entry = listed(call, loaded.installed)
        del entry["modified_at"]
        models.append(
            {
                **entry,
                "expires_at": until.isoformat().replace("+00:00", "Z"),
                "size_vram": 0,
                "context_length": loaded.model.info.context,
            }
        )
    return JSONAnswer({"models": models})


async def show(call: Call) -> Response:
    """What a model is and can do, from its files: clients ask it of every model, so none is loaded."""
    request: ModelRequest = call.body
    installed = call.service.permitted(request.named, call.caller)
    found = await call.service.description(installed)
    capabilities = ["completion"] if found.embedding_size is None else ["embedding"]
    if found.control_tokens & {gap[0] for gap in GAP_TOKENS}:
        capabilities.append("insert")
    if found.abilities is not None:
        capabilities += ["tools"] if found.abilities.tools else []
        capabilities += ["thinking"] if found.abilities.thinks else []
    family, limited = found.family, call.service.settings.load_options.get("context")
    return JSONAnswer(
        {
            "license": installed.licence or "",
            "modelfile": f"FROM {installed.name}\n",
            "parameters": "",
            "template": "",
            "details": details(call, installed)
            | {
                "family": family,
                "families": [family],
                "parameter_size": parameter_size(found.parameters),
            },
            "model_info": {
                "general.architecture": family,
                "general.basename": installed.name,
                "general.parameter_count": found.parameters,
                f"{family}.context_length": min(limited or found.context, found.context),
                f"{family}.vocab_size": found.vocabulary_size,
            },
            "capabilities": capabilities,
            "modified_at": created_at(installed).isoformat().replace("+00:00", "Z"),
            **request.beside,
        }
    )


async def version(_call: Call) -> Response:
    return JSONAnswer({"version": VERSION})


async def embed(call: Call) -> Response:
    request: OllamaEmbed = call.body
    began = time.monotonic_ns()
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not texts:  # only to load it
        (await unless_gone(call.request, call.service.borrow(request.named, call.caller))).give_back(request.keep)
        return JSONAnswer({"model": request.named, "embeddings": [], **request.beside})
    truncate = request.truncate is not False
    found = await embedded(call, request.named, texts, request.dimensions, truncate=truncate, keep=request.keep)
    return JSONAnswer(
        {
            "model": request.named,
            "embeddings": found.vectors.tolist(),
            "total_duration": time.monotonic_ns() - began,
            "load_duration": 0,
            "prompt_eval_count": sum(found.tokens),
            **request.beside,
        }
    )


async def embed_one(call: Call) -> Response:
    """The older form: one text, one vector."""
    request: OllamaEmbedding = call.body
    found = await embedded(call, request.named, [request.prompt], None, truncate=True, keep=request.keep)
    return JSONAnswer({"embedding": found.vectors[0].tolist(), **request.beside})


async def pull(call: Call) -> Response:
    """Of what is here nothing is to be fetched, so it is done; anything else is the owner's to fetch."""
    request: PullRequest = call.body
    try:
        call.service.permitted(request.named, call.caller)
    except Refusal:
        raise changes_nothing(f"Run `ouvert pull {request.named}` on it.") from None
    statuses = [{"status": "already here, nothing was fetched"}, {"status": "success", **request.beside}]
    if request.stream is False:
        return JSONAnswer(statuses[-1])
    return Response(b"".join(as_json(status) + b"\n" for status in statuses), media_type=NDJSON)


async def remove(call: Call) -> Response:
    request: ModelRequest = call.body
    raise changes_nothing(f"Run `ouvert remove {request.named}` on it.")


async def make(_call: Call) -> Response:
    raise changes_nothing("`ouvert --help` says what there is.")


def changes_nothing(remedy: str) -> Refusal:
    """Models are fetched, renamed and removed by the owner of the machine: a server reaches out for nobody."""
    return Refusal(403, f"This server changes no models: the machine's owner does. {remedy}", code="not_offered")


def own(method: str, path: str, handler: Callable[[Call], Awaitable[Response]], summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        method=method,
        path="/api/" + path,
        handler=handler,
        summary=summary,
        dialect=ollama_error,
        versioned=False,
        **more,
    )


ENDPOINTS = (
    own("POST", "chat", chat, "Ollama: answer a conversation", body=OllamaChat, answers=NDJSON),
    own(
        "POST",
        "generate",
        generate,
        "Ollama: answer or continue a text",
        body=OllamaGenerate,
        answers=NDJSON,
        values=TOKEN_VALUES,
    ),
    own("GET", "tags", tags, "Ollama: the models this server offers"),
    own("GET", "ps", in_memory, "Ollama: the models in memory"),
    own("POST", "show", show, "Ollama: what a model is and can do", body=ShowRequest),
    own("GET", "version", version, "Ollama: the version of its interface that is spoken here", public=True),
    own("POST", "embed", embed, "Ollama: texts to vectors", body=OllamaEmbed),
    own("POST", "embeddings", embed_one, "Ollama: one text to a vector", body=OllamaEmbedding),
    own("POST", "pull", pull, "Ollama: done for a model that is here; the owner fetches others", body=PullRequest),
    own("DELETE", "delete", remove, "Ollama: refused: the owner removes models", body=ModelRequest),
    own("POST", "push", make, "Ollama: refused"),
    own("POST", "create", make, "Ollama: refused"),
    own("POST", "copy", make, "Ollama: refused"),
)
