"""POST /v1/responses: OpenAI's Responses, a translation of the assistant's events; stored ones can be referred to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial

from starlette.responses import Response

from ouvert.assistant import Event, Finished, Watched
from ouvert.serving import receipts
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.consulting import consulted
from ouvert.serving.edits import edited, state_of
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.openai.response_events import OVER, ResponseWriter, WireEvent, new_id, snapshot
from ouvert.serving.openai.response_input import conversation_of
from ouvert.serving.openai.response_request import (
    InputRequest,
    ResponsesRequest,
    asked,
    asked_to_read,
    custom_names,
    new_response,
    notes_on,
    notes_on_input,
)
from ouvert.serving.openai.response_store import ResponseStore, Stored, responses_of
from ouvert.serving.openai.stored_responses import cancel_response, delete_response, get_response, input_items
from ouvert.serving.streams import JSONAnswer, Streamed, sse, unless_gone
from ouvert.serving.watching import Pieces, watched


async def create_response(call: Call) -> Response:
    request: ResponsesRequest = call.body
    if request.background and (request.store is False or request.stream):
        other = "stream" if request.stream else "store: false"
        raise Refusal(
            400, f"background goes with polling, not with {other}.", code="unsupported_parameter", param="background"
        )
    conversation = conversation_of(call, request)
    response = new_response(request, new_id("resp"))
    wanted = edited(asked(request, conversation.messages), request.ouvert, call)
    wanted = consulted(watched(wanted, request.ouvert, call), request.ouvert, call)
    stored = Stored(response, conversation.items, conversation.context, call.caller.whose)
    full = receipts.wants_full(call.request, request.ouvert)
    headers = {receipts.HEADER: response["id"], **state_of(wanted)}
    begin = partial(call.service.answer, request.model, wanted, call.caller, response["id"], notes=notes_on(request))
    if request.background:
        stored.task = asyncio.create_task(in_background(call, begin, stored, full))
        responses_of(call).keep(stored)
        return JSONAnswer(snapshot(response), headers=headers)
    answer = await unless_gone(call.request, begin())
    answer.base = str(call.request.base_url)
    headers |= answer.headers
    store = responses_of(call) if request.store is not False else None
    writing = ResponseInProgress(answer, stored, store, full)
    if request.stream:
        seconds = call.service.settings.ping_seconds
        return Streamed(writing.as_stream(), writing.close, ping_seconds=seconds, headers=headers)
    try:
        await unless_gone(call.request, writing.to_its_end())
    finally:
        await answer.close()
    return JSONAnswer(response, headers=headers)


class ResponseInProgress:
    """A response whose client waits for it. It is stored when it is over."""

    def __init__(
        self, answer: AnswerInProgress[Event], stored: Stored, store: ResponseStore | None, full: bool
    ) -> None:
        """`store`: None where nothing is to be stored."""
        self._answer, self._stored, self._store = answer, stored, store
        self._events = written(
            answer, ResponseWriter(stored.response, custom_names(stored.response), answer.base), full
        )

    async def to_its_end(self) -> None:
        """Raises Refusal where it failed; such a response is not stored, as its client never learns its id."""
        await exhausted(self._events)
        if self._stored.response["status"] == "failed":
            raise Refusal(500, self._stored.response["error"]["message"], code="server_error")
        self._keep()

    async def as_stream(self) -> AsyncIterator[bytes]:
        async for event in self._events:
            if event["type"].removeprefix("response.") in OVER:
                self._keep()  # before the client knows that it is there
            yield sse(event, event["type"])

    async def close(self) -> None:
        await self._answer.close()
        if self._stored.response["status"] in OVER:
            self._keep()

    def _keep(self) -> None:
        if self._store is not None:
            self._store.keep(self._stored)


async def written(answer: AnswerInProgress[Event], writer: ResponseWriter, full: bool) -> AsyncIterator[WireEvent]:
    """The response from its beginning to its end, whatever that is."""
    response = writer.response
    response["status"] = "in_progress"
    for wire in writer.begin():
        yield wire
    ended: Finished | None = None
    seen = Pieces()
    try:
        async for _, event in answer:
            if isinstance(event, Finished):
                ended = event
            elif isinstance(event, Watched):
                seen.take(0, event)
            for wire in writer.take(event):
                yield seen.with_untold(wire)
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            raise
        for wire in writer.end("failed", None, error={"code": "server_error", "message": refusal.message}):
            yield wire
        return
    for wire in ending(answer, ended, writer, full, seen):
        yield seen.with_untold(wire)


def ending(
    answer: AnswerInProgress[Event], ended: Finished | None, writer: ResponseWriter, full: bool, seen: Pieces
) -> Iterator[WireEvent]:
    """The last events; without `ended` it was cancelled before the model said anything."""
    usage = None if ended is None else ended.usage
    field = receipts.beside(answer.id, [] if ended is None else [ended.receipt], full=full, notes=answer.notes)
    field |= seen.whole
    match "cancelled" if ended is None else ended.reason:
        case "stop" | "tool_calls":
            return writer.end("completed", usage, ouvert=field)
        case "cancelled":
            return writer.end("cancelled", usage, ouvert=field)
    return writer.end("incomplete", usage, ouvert=field, incomplete_details={"reason": "max_output_tokens"})


async def exhausted(events: AsyncIterator[WireEvent]) -> None:
    async for _ in events:
        pass


async def in_background(
    call: Call, begin: Callable[[], Awaitable[AnswerInProgress[Event]]], stored: Stored, full: bool
) -> None:
    """Write a response that nobody waits for. Whatever happens, it says so in its status."""
    response, writer = stored.response, ResponseWriter(stored.response, custom_names(stored.response))
    try:
        answer = await begin()
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
        responses_of(call).keep(stored)


async def count_input_tokens(call: Call) -> Response:
    """What `input_tokens` of a response to the same would be."""
    request: InputRequest = call.body
    to_read = asked_to_read(request, conversation_of(call, request).messages)
    notes = notes_on_input(request)
    lease = await unless_gone(call.request, call.service.borrow(request.model, call.caller))
    try:
        ids = await asyncio.to_thread(lease.prompt_ids, to_read)
        beside = {"ouvert": {"not_honoured": list(notes)}} if notes else {}
        return JSONAnswer({"object": "response.input_tokens", "input_tokens": len(ids), **beside})
    finally:
        lease.give_back()


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
