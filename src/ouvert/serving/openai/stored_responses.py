"""/v1/responses/{id}: responses that are stored, given back, cancelled and forgotten."""

import asyncio
from typing import Any

from starlette.responses import Response

from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.openai.response_events import OVER, snapshot
from ouvert.serving.openai.response_store import Stored, responses_of, texts_of
from ouvert.serving.streams import JSONAnswer


def found(call: Call) -> Stored:
    response_id = call.request.path_params["response_id"]
    stored = responses_of(call).find(response_id, call.caller)
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
    responses_of(call).delete(stored.response["id"])
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
    """The item as OpenAI lists it: a message's text is a part."""
    if item["type"] != "message" or not isinstance(item.get("content"), str):
        return item
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    part = {"type": kind, "text": item["content"]} | ({"annotations": []} if kind == "output_text" else {})
    return {**item, "status": "completed", "content": [part]}
