"""/v1/responses: OpenAI's Responses, a translation of the assistant's events; stored ones can be referred to."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from starlette.responses import Response

from ouvert.assistant import Event, Finished, Message
from ouvert.serving import receipts
from ouvert.serving.answer_form import Form, FormedRequest, StatedFormat
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.bounds import OpenAITemperature, Penalty, RepetitionPenalty, Share, TopLogprobs
from ouvert.serving.endpoints import MOST_COUNT, MOST_TOKENS, Call, Endpoint
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.foreign_fields import OPENAI_HARMLESS, RESPONSES_REFUSED
from ouvert.serving.openai.chat_completions import Limit, StreamOptions, chosen_tools
from ouvert.serving.openai.response_events import ResponseWriter, WireEvent, new_id, snapshot
from ouvert.serving.openai.response_items import Item, is_reference, messages_of, resolved, unknown_in_items
from ouvert.serving.openai.response_tools import declared_tools
from ouvert.serving.response_store import Stored, texts_of
from ouvert.serving.service import Ask, prompt_of
from ouvert.serving.streams import JSONAnswer, Streamed, sse, unless_gone
from ouvert.serving.wire import Several, Wire, first_notes

LOGPROBS = "message.output_text.logprobs"
INCLUDED = (LOGPROBS, "reasoning.encrypted_content")  # thoughts are given as they are, and taken back so
OVER = ("completed", "incomplete", "failed", "cancelled")
ID_PREFIX = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}
ID_PREFIX |= {"custom_tool_call": "ctc", "custom_tool_call_output": "ctco"}


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

    def stated_forms(self) -> Iterator[tuple[str, Form]]:
        stated = self.text.format if self.text else None
        if stated is not None and stated.type != "text":
            yield "text.format", stated.form("text.format")
        yield from super().stated_forms()


class ResponsesRequest(InputRequest):
    max_output_tokens: Limit = None
    temperature: OpenAITemperature | None = None
    top_p: Share | None = None
    top_k: int | None = Field(None, ge=-1, le=MOST_COUNT)
    min_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    seed: int | None = None
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
    ouvert: receipts.Extras | None = None


def asked(request: ResponsesRequest, messages: list[Message]) -> Ask:
    """What the request asks of the assistant. Raises Refusal for what cannot be honoured."""
    sampling: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": None if request.top_p is None else max(request.top_p, 1e-9),
        "top_k": None if request.top_k is None else max(request.top_k, 0),
        "min_p": request.min_p,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "repetition_penalty": request.repetition_penalty,
        "seed": None if request.seed is None else request.seed % 2**64,
        "max_tokens": request.max_output_tokens,
    }
    if request.top_logprobs or LOGPROBS in (request.include or ()):
        sampling["logprobs"] = request.top_logprobs or 0
    ask = asked_to_read(request, messages)
    beside = [f"include: {name[:80]} is not given here" for name in request.include or () if name not in INCLUDED]
    if request.text and request.text.verbosity in ("low", "high"):
        beside.append("text.verbosity: say in the instructions how long the answer is to be")
    return replace(
        ask,
        notes=(*ask.notes, *first_notes(iter(beside))),
        sampling={name: value for name, value in sampling.items() if value is not None},
        think_budget=request.think_budget,
    )


def asked_to_read(request: InputRequest, messages: list[Message]) -> Ask:
    """The part of it that a prompt is made of."""
    declared = declared_tools(request.tools or ())
    tools, choice = chosen_tools(declared.tools, as_choice(request.tool_choice))
    form = request.form
    return Ask(
        model=request.model,
        messages=messages,
        tools=tools,
        tool_choice=choice,
        parallel=request.parallel_tool_calls is not False,
        effort=request.reasoning.effort if request.reasoning else None,
        schema=form.schema,
        strict_schema=form.strict,
        grammar=form.grammar,
        truncates=request.truncation == "auto",
        notes=(*request.unknown, *declared.notes, *first_notes(unknown_in_items(request.input))),
    )


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
    """As OpenAI's types have it: what other servers write into a format is a schema, or is said by its type."""
    form: dict[str, Any] = {"type": stated.type if stated.type in ("text", "json_object", "json_schema") else "text"}
    if (schema := stated.form("text.format").schema) is not None:
        facts = {**(stated.model_extra or {}), "strict": stated.strict}
        form = {"type": "json_schema", "name": "answer", "schema": dict(schema)}
        form |= {name: facts[name] for name in ("name", "description", "strict") if facts.get(name) is not None}
    return form


def sent_items(request: InputRequest) -> list[dict[str, Any]]:
    """What was sent, as items with ids."""
    if request.input is None:
        return []
    if isinstance(request.input, str):
        given: list[dict[str, Any]] = [{"type": "message", "role": "user", "content": request.input}]
    else:
        given = request.input
    return [with_id(item) for item in given]


def with_id(item: dict[str, Any]) -> dict[str, Any]:
    kind = "item_reference" if is_reference(item) else item.get("type") or "message"
    kept = isinstance(item.get("id"), str) and 0 < len(item["id"]) <= 256
    identity = item["id"] if kept else new_id(ID_PREFIX.get(str(kind), "item"))
    return {**item, "type": kind, "id": identity}


@dataclass(frozen=True, slots=True)
class Conversation:
    """`items` are those sent now, `context` those and all before them, `messages` what the model reads of them."""

    items: list[dict[str, Any]]
    context: list[Item]
    messages: list[Message]


def conversation_of(call: Call, request: InputRequest) -> Conversation:
    """Raises Refusal where nothing was sent, or what it refers to is not stored here."""
    store = call.service.responses
    items = sent_items(request)
    if request.input in (None, "", []) and request.previous_response_id is None:
        raise Refusal(
            400,
            "Neither input nor previous_response_id was sent, or both are empty; expected text or items. Send input.",
            code="missing_required_parameter" if request.input is None else "invalid_value",
            param="input",
        )
    before: list[Item] = []
    if request.previous_response_id is not None:
        previous = store.find(request.previous_response_id, call.caller)
        if previous is None:
            raise Refusal(
                400,
                f"previous_response_id: {request.previous_response_id!r:.100} is not stored here. The last "
                f"{call.service.settings.stored_responses} are, while the server runs. Send the items themselves.",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        before = [*previous.context, *previous.response["output"]]
    known = store.seen_by(call.caller)
    context = resolved([*before, *items], known)
    messages = messages_of(context, known)
    if request.instructions:
        messages.insert(0, Message(role="developer", content=request.instructions))
    if not messages:
        raise Refusal(400, "input holds no message, expected at least one.", code="invalid_value", param="input")
    return Conversation(items, context, messages)


async def create_response(call: Call) -> Response:
    request: ResponsesRequest = call.body
    if request.background and (request.store is False or request.stream):
        other = "stream" if request.stream else "store: false"
        raise Refusal(
            400, f"background goes with polling, not with {other}.", code="unsupported_parameter", param="background"
        )
    store = call.service.responses
    conversation = conversation_of(call, request)
    response = new_response(request, new_id("resp"))
    ask = asked(request, conversation.messages)
    stored = Stored(response, conversation.items, conversation.context, call.caller.whose)
    full = receipts.wants_full(call.request, request.ouvert)
    if request.background:
        stored.task = asyncio.create_task(in_background(call, ask, stored, full))
        store.keep(stored)
        return JSONAnswer(snapshot(response), headers={receipts.HEADER: response["id"]})
    answer = await unless_gone(call.request, call.service.answer(ask, call.caller, response["id"]))
    writer = ResponseWriter(response, custom_names(response))
    events = written(answer, writer, full)

    def keep() -> None:
        if request.store is not False:
            store.keep(stored)

    headers = {receipts.HEADER: response["id"]}
    if request.stream:
        settings = call.service.settings

        async def close() -> None:
            await answer.close()
            if response["status"] in OVER:
                keep()

        return Streamed(
            as_stream(events, keep),
            close,
            ping_seconds=settings.ping_seconds,
            headers=headers,
        )
    try:
        await unless_gone(call.request, exhausted(events))
    finally:
        await answer.close()
    if response["status"] == "failed":
        raise Refusal(500, response["error"]["message"], code="server_error")
    keep()
    return JSONAnswer(response, headers=headers)


async def written(answer: AnswerInProgress[Event], writer: ResponseWriter, full: bool) -> AsyncIterator[WireEvent]:
    """The response from its beginning to its end, whatever that is."""
    response = writer.response
    response["status"] = "in_progress"
    for wire in writer.begin():
        yield wire
    ended: Finished | None = None
    try:
        async for _, event in answer:
            if isinstance(event, Finished):
                ended = event
            for wire in writer.take(event):
                yield wire
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            raise
        for wire in writer.end("failed", None, error={"code": "server_error", "message": refusal.message}):
            yield wire
        return
    usage = None if ended is None else ended.usage
    field = receipts.beside(answer.id, [] if ended is None else [ended.receipt], full=full, notes=answer.notes)
    reason = "cancelled" if ended is None else ended.reason
    if reason in ("stop", "tool_calls"):
        last = writer.end("completed", usage, ouvert=field)
    elif reason == "cancelled":
        last = writer.end("cancelled", usage, ouvert=field)
    else:
        last = writer.end("incomplete", usage, ouvert=field, incomplete_details={"reason": "max_output_tokens"})
    for wire in last:
        yield wire


async def as_stream(events: AsyncIterator[WireEvent], keep: Any) -> AsyncIterator[bytes]:
    async for event in events:
        if event["type"].removeprefix("response.") in OVER:
            keep()  # before the client knows that it is there
        yield sse(event, event["type"])


async def exhausted(events: AsyncIterator[WireEvent]) -> None:
    async for _ in events:
        pass


async def in_background(call: Call, ask: Ask, stored: Stored, full: bool) -> None:
    """Write a response that nobody waits for. Whatever happens, it says so in its status."""
    response, writer = stored.response, ResponseWriter(stored.response, custom_names(stored.response))
    try:
        answer = await call.service.answer(ask, call.caller, response["id"])
        try:
            await exhausted(written(answer, writer, full))
        finally:
            await answer.close()
    except asyncio.CancelledError:
        for _ in writer.end("cancelled", None):
            pass
    except Exception as problem:  # said to whoever polls
        refusal = refusal_of(problem)
        message = "Something went wrong here, and the server's log says what." if refusal is None else refusal.message
        code = "server_error" if refusal is None or refusal.status >= 500 else "invalid_prompt"
        response |= {"status": "failed", "error": {"code": code, "message": message}}
        if refusal is None:
            raise
    finally:
        call.service.responses.keep(stored)


async def count_input_tokens(call: Call) -> Response:
    """What `input_tokens` of a response to the same would be."""
    request: InputRequest = call.body
    ask = asked_to_read(request, conversation_of(call, request).messages)
    lease = await unless_gone(call.request, call.service.borrow(ask.model, call.caller))
    try:
        ids = await asyncio.to_thread(prompt_of, lease, ask)
        beside = {"ouvert": {"not_honoured": list(ask.notes)}} if ask.notes else {}
        return JSONAnswer({"object": "response.input_tokens", "input_tokens": len(ids), **beside})
    finally:
        lease.give_back()


def found(call: Call) -> Stored:
    response_id = call.request.path_params["response_id"]
    stored = call.service.responses.find(response_id, call.caller)
    if stored is None:
        raise Refusal(
            404,
            f"There is no response {response_id!r:.100} here. The last {call.service.settings.stored_responses} are "
            "kept, while the server runs and unless store is false.",
            code="response_not_found",
        )
    return stored


async def get_response(call: Call) -> Response:
    if call.request.query_params.get("stream", "").lower() == "true":
        raise Refusal(
            400, "stream: a stored response is given whole. Poll it.", code="unsupported_parameter", param="stream"
        )
    return JSONAnswer(snapshot(found(call).response))


async def delete_response(call: Call) -> Response:
    stored = found(call)
    if stored.task is not None:
        stored.task.cancel()
        await asyncio.gather(stored.task, return_exceptions=True)
    call.service.responses.delete(stored.response["id"])
    await call.service.forget(texts_of(stored.input_items) or texts_of(stored.response["output"]), call.caller)
    return JSONAnswer({"id": stored.response["id"], "object": "response", "deleted": True})


async def cancel_response(call: Call) -> Response:
    stored = found(call)
    if stored.task is None:
        raise Refusal(400, "Only a response in the background can be cancelled.", code="invalid_value")
    if not stored.task.done():
        stored.task.cancel()
        await asyncio.gather(stored.task, return_exceptions=True)
        if stored.response["status"] not in OVER:  # it had not even begun
            stored.response["status"] = "cancelled"
    return JSONAnswer(snapshot(stored.response))


async def input_items(call: Call) -> Response:
    """Newest first unless `order=asc`; `limit` and `after` turn the pages."""
    query = call.request.query_params
    items = list(found(call).input_items)
    order, limit = query.get("order", "desc"), query.get("limit", "20")
    if order not in ("asc", "desc"):
        raise Refusal(400, f"order is {order!r:.40}, expected asc or desc.", code="invalid_value", param="order")
    if not (limit.isdecimal() and len(limit) < 5 and 1 <= int(limit) <= 100):
        raise Refusal(400, f"limit is {limit!r:.40}, expected 1 to 100.", code="invalid_value", param="limit")
    if order == "desc":
        items.reverse()
    if after := query.get("after"):
        places = [n for n, item in enumerate(items) if item["id"] == after]
        if not places:
            raise Refusal(400, f"after: there is no item {after!r:.100}.", code="invalid_value", param="after")
        items = items[places[0] + 1 :]
    page = [as_input_item(item) for item in items[: int(limit)]]
    return JSONAnswer(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(items) > len(page),
        }
    )


def as_input_item(item: dict[str, Any]) -> dict[str, Any]:
    """As OpenAI lists it: a message's text is a part."""
    if item["type"] != "message" or not isinstance(item.get("content"), str):
        return item
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    part = {"type": kind, "text": item["content"]} | ({"annotations": []} if kind == "output_text" else {})
    return {**item, "status": "completed", "content": [part]}


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/responses",
        handler=create_response,
        summary="Answer items; the answer is stored unless store is false",
        body=ResponsesRequest,
    ),
    Endpoint(
        method="POST",
        path="/responses/input_tokens",
        handler=count_input_tokens,
        summary="How many tokens the prompt of such a response has",
        body=InputRequest,
    ),
    Endpoint(method="GET", path="/responses/{response_id}", handler=get_response, summary="A stored response"),
    Endpoint(method="DELETE", path="/responses/{response_id}", handler=delete_response, summary="Forget a response"),
    Endpoint(
        method="POST",
        path="/responses/{response_id}/cancel",
        handler=cancel_response,
        summary="Cancel a response in the background",
    ),
    Endpoint(
        method="GET",
        path="/responses/{response_id}/input_items",
        handler=input_items,
        summary="What a stored response was asked",
    ),
)
