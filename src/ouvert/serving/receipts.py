"""GET /v1/receipts/{id}: the whole receipt of an answer; and its short form, which goes with every answer."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from starlette.requests import Request
from starlette.responses import Response

from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.streams import JSONAnswer
from ouvert.serving.wire import Wire

HEADER = "x-ouvert-receipt"
FULL = "full"
WITHOUT_TAGS = (
    "tool_calls: the model wrote its calls as plain JSON, without the marks of its format; the whole answer was that, "
    "every name is declared and all arguments follow their schemas, so it was read as calls"
)


class Extras(Wire):
    """The field `ouvert` of a request. `receipt`: which form of the receipt goes with the answer."""

    refused: ClassVar[Mapping[str, str]] = {
        "documents": "documents are asked in /v1/chat/completions, /v1/responses, /v1/messages and /api/chat",
        "edits": "a model is edited for answers of /v1/chat/completions, /v1/responses and /v1/messages",
        "watch": "answers of /v1/chat/completions, /v1/responses and /v1/messages can be watched",
    }

    receipt: Literal["short", "full"] = "short"


def short(receipt: Mapping[str, Any]) -> dict[str, Any]:
    """The short form of a receipt: which weights answered, what it took, what left the machine.

    Where an engine that is none of ours computed, its name stands in place of a digest.
    """
    model, engine, tokens = receipt["model"], receipt["engine"], receipt["tokens"]
    facts = {
        "model": model["name"],
        **({"weights_digest": model["weights_digest"]} if "weights_digest" in model else {"engine": engine["name"]}),
        "seed": receipt["sampling"]["seed"],
        "tokens": {name: tokens[name] for name in ("prompt", "reused", "reasoning", "output", "total")},
        "ended": receipt["ended"],
        "seconds": receipt["seconds"],
    }
    return facts | {
        name: receipt[name]
        for name in ("adapters", "edits", "watched", "connections", "documents", "citations")
        if name in receipt
    }


def wants_full(request: Request, stated: Extras | None) -> bool:
    """Whether the whole receipt is asked for: by a header, or in the body as `"ouvert": {"receipt": "full"}`."""
    return request.headers.get(HEADER, "").lower() == FULL or (stated is not None and stated.receipt == FULL)


def beside(answer_id: str, receipts: list[Mapping[str, Any]], *, full: bool, notes: list[str]) -> dict[str, Any]:
    """The field `ouvert` of an answer: the first choice's receipt, and those of all where there are several."""
    shown = [dict(receipt) if full else short(receipt) for receipt in receipts]
    field: dict[str, Any] = {"receipt_id": answer_id}
    if shown:
        field["receipt"] = shown[0]
    if len(shown) > 1:
        field["receipts"] = shown
    if notes:
        field["not_honoured"] = notes
    if any(receipt["ended"].get("calls_without_tags") for receipt in receipts):
        field["notes"] = [WITHOUT_TAGS]
    return field


async def whole_receipt(call: Call) -> Response:
    answer_id = call.request.path_params["answer_id"]
    receipts = call.service.receipts.of(answer_id, call.caller.whose)
    if not receipts:
        raise Refusal(
            404,
            f"No receipt is kept here for {answer_id!r:.100}. The last {call.service.settings.kept_receipts} are kept "
            "while the server runs; the owner's ledger (`ouvert receipt`) keeps more.",
            code="receipt_not_found",
        )
    return JSONAnswer({"object": "list", "id": answer_id, "data": [dict(receipt) for receipt in receipts]})


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/receipts/{answer_id}",
        handler=whole_receipt,
        summary="The receipts of an answer, one for each choice",
    ),
)
