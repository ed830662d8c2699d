"""The endpoints below /ouvert/traces."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.responses import Response

from ouvert.inspection import Trace, View
from ouvert.serving.edits import Extras, edits_of
from ouvert.serving.endpoints import Call, Handler
from ouvert.serving.errors import Refusal
from ouvert.serving.long_work import inside_endpoint
from ouvert.serving.streams import JSONAnswer, Streamed, sse
from ouvert.serving.traces.kept import KeptTrace, Traces, plan_facts, with_its_model
from ouvert.serving.traces.request import Asked, TraceRequest
from ouvert.store import Directions

# The parameters of each view's address, and how each is read.
Read = Callable[[str], Any]


def whole(text: str) -> int:
    return int(text)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def numbers_or_words(text: str) -> Any:
    """Numbers with commas between, or words such as "every 4" and "answer"."""
    return numbers(text) if text.replace(",", "").replace("-", "").isdigit() else text


def yes_or_no(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def id_or_text(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def ids_or_texts(text: str) -> list[int | str]:
    return [id_or_text(part) for part in text.split(",")]


VIEWS: Mapping[str, tuple[Callable[..., View], Mapping[str, Read]]] = {
    "confidence": (Trace.confidence, {}),
    "lens": (Trace.lens, {"top": whole, "layers": numbers_or_words, "positions": numbers_or_words}),
    "focus": (Trace.focus, {"tokens": ids_or_texts, "layers": numbers_or_words, "positions": numbers_or_words}),
    "attention": (
        Trace.attention,
        {"layer": whole, "head": numbers, "query": numbers_or_words, "values": yes_or_no},
    ),
    "experts": (Trace.experts, {"positions": numbers_or_words, "norms": yes_or_no}),
    "attribution": (Trace.attribution, {"token": id_or_text, "position": whole, "heads": yes_or_no}),
    "states": (Trace.states, {"positions": numbers_or_words}),
    "hidden_attention": (Trace.hidden_attention, {"layer": whole, "query": whole}),
}
NEEDED = {"focus": "tokens", "attention": "layer", "hidden_attention": "layer"}


async def make(call: Call) -> Response:
    """Say what it would take, and begin."""
    request: TraceRequest = call.body
    stated = Extras(edits=request.edits)
    edits = edits_of(stated, call.caller, Directions(call.service.store.home)) if request.edits else ()
    asked = Asked(request, receipt_of(call, request), edits, reads_ledger=call.caller.is_owner)
    lease = await call.service.borrow(asked.model, call.caller)
    try:
        plan, with_lens = await asyncio.to_thread(asked.plans, lease.model)
        if plan.bytes > request.max_bytes:
            raise Refusal(
                400,
                f"What would be kept takes {plan.bytes} bytes, expected at most {request.max_bytes}. Record fewer "
                "values or positions, or allow more (max_bytes).",
                code="too_large",
                param="max_bytes",
                facts={"plan": plan_facts(plan, with_lens)},
            )
        if request.plan:
            lease.give_back()
            return JSONAnswer({"object": "trace.plan", "plan": plan_facts(plan, with_lens)})
        kept = KeptTrace(call.caller.whose, asked, plan, with_lens)
    except BaseException:
        lease.give_back()
        raise
    traces_of(call).begin(kept, [lease])
    return JSONAnswer(kept.facts(), status_code=202)


def receipt_of(call: Call, request: TraceRequest) -> Mapping[str, Any] | None:
    """The receipt itself; of an id, the first one of this caller's answer. Raises Refusal where none is known."""
    if not isinstance(request.receipt, str):
        return request.receipt
    receipts = call.service.receipts.of(request.receipt, call.caller.whose)
    if not receipts:
        raise Refusal(
            404,
            f"No receipt is kept here for {request.receipt!r:.100}. Send the receipt itself: `ouvert receipt show` "
            "prints those of the owner's ledger.",
            code="receipt_not_found",
            param="receipt",
        )
    return receipts[0]


def traces_of(call: Call) -> Traces:
    traces: Traces = call.request.app.state.traces
    return traces


def kept_of(call: Call) -> KeptTrace:
    return traces_of(call).of(call.request.path_params["trace_id"], call.caller.whose)


async def listed(call: Call) -> Response:
    kept = traces_of(call).all_of(call.caller.whose)
    rows = [{name: each.facts()[name] for name in ("id", "object", "state", "plan", "progress")} for each in kept]
    return JSONAnswer({"object": "list", "data": rows})


async def summary(call: Call) -> Response:
    return JSONAnswer(kept_of(call).facts())


async def events(call: Call) -> Response:
    kept = kept_of(call)

    async def pieces() -> AsyncIterator[bytes]:
        async for facts in kept.events():
            yield sse(facts, "trace")

    async def close() -> None:
        """Nothing is held."""

    return Streamed(pieces(), close)


async def remove(call: Call) -> Response:
    kept = kept_of(call)
    traces_of(call).remove(kept)
    return JSONAnswer({"id": kept.id, "object": "trace", "deleted": True})


async def looked(call: Call, look: Callable[[Trace], Any]) -> Any:
    """What `look` gives of the trace, computed while its model is lent."""
    kept = kept_of(call)
    kept.made()
    lease = await call.service.borrow(kept.asked.model, call.caller)
    try:
        return await with_its_model(kept, lease, look)
    finally:
        lease.give_back()


def view_called(name: str) -> Handler:
    make_view, readers = VIEWS[name]

    async def shown(call: Call) -> Response:
        given = parameters(name, readers, call.request.query_params)
        answer: Response = await looked(call, lambda trace: JSONAnswer(make_view(trace, **given).json()))
        return answer

    return shown


def parameters(view: str, readers: Mapping[str, Read], given: Mapping[str, str]) -> dict[str, Any]:
    """Those of an address. Raises Refusal for one that the view does not have, or that is not of its kind."""
    needed = [NEEDED[view]] if view in NEEDED else []
    if wrong := sorted((given.keys() - readers.keys()) | (set(needed) - given.keys())):
        raise Refusal(
            400,
            f"{view}: {', '.join(wrong)}, expected {', '.join(readers) or 'no parameter'}"
            f"{f', {needed[0]} always' if needed else ''}. docs/formats/trace.md has the views.",
            param=wrong[0],
        )
    read: dict[str, Any] = {}
    for name, text in given.items():
        try:
            read[name] = readers[name](text)
        except (ValueError, KeyError):
            raise Refusal(400, f"{view}: {name} is {text!r:.60}, expected numbers.", param=name) from None
    return read


async def tensors(call: Call) -> Response:
    given = parameters("tensors", {"words": yes_or_no}, call.request.query_params)
    data = await looked(call, lambda trace: trace.to_bytes(words=given.get("words", True)))
    return Response(data, media_type="application/octet-stream", headers=attachment(kept_of(call), "trace"))


async def page(call: Call) -> Response:
    given = parameters("page", {"words": yes_or_no}, call.request.query_params)
    data = await looked(call, lambda trace: trace.to_html(words=given.get("words", True)))
    return Response(data, media_type="text/html; charset=utf-8", headers=attachment(kept_of(call), "html"))


def attachment(kept: KeptTrace, ending: str) -> dict[str, str]:
    """A file to keep: it is not shown in this server's name."""
    return {"content-disposition": f'attachment; filename="{kept.id}.{ending}"', "cache-control": "no-store"}


ENDPOINTS = (
    inside_endpoint(
        "POST", "traces", make, "Look into an answer or a text: first the plan, then the trace", body=TraceRequest
    ),
    inside_endpoint("GET", "traces", listed, "The traces that are kept"),
    inside_endpoint("GET", "traces/{trace_id}", summary, "A trace: its state, and its summary once it is done"),
    inside_endpoint(
        "GET", "traces/{trace_id}/events", events, "How far a trace is, as events", answers="text/event-stream"
    ),
    inside_endpoint("DELETE", "traces/{trace_id}", remove, "Remove a trace, or stop making it"),
    *(
        inside_endpoint("GET", f"traces/{{trace_id}}/{name}", view_called(name), f"The view {name} of a trace")
        for name in VIEWS
    ),
    inside_endpoint(
        "GET", "traces/{trace_id}/tensors", tensors, "The file of a trace", answers="application/octet-stream"
    ),
    inside_endpoint("GET", "traces/{trace_id}/page", page, "A trace as one HTML file", answers="text/html"),
)
