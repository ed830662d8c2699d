"""/api/pull and /api/delete, for the owner of the machine; and the refusal of whatever else changes models."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from starlette.responses import Response

from ouvert.serving.callers import refuse_all_but_the_owner
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.fetches import ENDED, Fetch, State
from ouvert.serving.ollama.answer_lines import NDJSON
from ouvert.serving.ollama.models import ModelRequest
from ouvert.serving.origin_guard import refuse_other_pages
from ouvert.serving.streams import JSONAnswer, Streamed, as_json, unless_gone

LINE_SECONDS = 0.25  # between two lines at least
# How Ollama writes a repository of the hub, for example hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M.
HUB = re.compile(r"(https?://)?(hf\.co|huggingface\.co)/", re.IGNORECASE)
DOING: dict[State, str] = {
    "queued": "waiting for the fetch before it",
    "fetching": "pulling",
    "packing": "packing",
    "stopping": "giving up",
}


class PullRequest(ModelRequest):
    without_effect: ClassVar[frozenset[str]] = frozenset({"insecure"})

    stream: bool | None = None


async def pull(call: Call) -> Response:
    """A model that is here needs no fetching, so this succeeds at once. Others are fetched for the owner; a fetch that
    nobody waits for any more is given up, as Ollama does, and what has arrived is kept."""
    request: PullRequest = call.body
    try:
        call.service.permitted(request.named, call.caller)
    except Refusal:
        refuse_others(call, f"Run `ouvert pull {request.named}` on it.")
        return await fetched(call, request)
    statuses = [{"status": "already here, nothing was fetched"}, {"status": "success", **request.beside}]
    if request.stream is False:
        return JSONAnswer(statuses[-1])
    return Response(b"".join(line(status) for status in statuses), media_type=NDJSON)


async def fetched(call: Call, request: PullRequest) -> Response:
    """The hosts are named before one is asked, in the first line."""
    what = HUB.sub("hf:", request.named).removesuffix(":latest")
    fetch = call.service.fetches.begin(await call.service.fetches.offer(what))
    fetch.holders += 1
    if request.stream is False:
        try:
            await unless_gone(call.request, asyncio.shield(fetch.ended))
        finally:
            await let_go(fetch)
        if fetch.state != "done":
            raise Refusal(502, fault_of(fetch), code="fetch_failed")
        return JSONAnswer({"status": "success", **request.beside})
    return Streamed(lines(fetch, request.beside), lambda: let_go(fetch), ping=None, media_type=NDJSON)


async def let_go(fetch: Fetch) -> None:
    fetch.holders -= 1
    if fetch.holders == 0 and not fetch.is_kept:
        fetch.give_up()


async def lines(fetch: Fetch, beside: dict[str, Any]) -> AsyncIterator[bytes]:
    """What Ollama's clients draw a bar of: `total` and `completed` beside a `digest`."""
    yield line({"status": f"asking {', then '.join(fetch.offer.hosts)} for {fetch.offer.source}"})
    last: dict[str, Any] = {}
    while fetch.state not in ENDED:
        await asyncio.to_thread(fetch.look)
        now: dict[str, Any] = {"status": f"{DOING[fetch.state]} {fetch.name}"}
        if fetch.state == "fetching" and fetch.total is not None:
            now |= {"digest": fetch.name, "total": fetch.total, "completed": fetch.arrived}
        if now != last:
            yield line(now)
            last = now
        await asyncio.wait([fetch.ended], timeout=LINE_SECONDS)
    if fetch.state != "done":
        yield line({"error": fault_of(fetch)})
        return
    if fetch.total is not None:
        whole = {"digest": fetch.name, "total": fetch.total, "completed": fetch.total}
        yield line({"status": f"pulling {fetch.name}", **whole})
    yield line({"status": "success", **beside})


def fault_of(fetch: Fetch) -> str:
    return fetch.fault or f"The fetch of {fetch.name} was given up. What has arrived is kept."


def line(value: dict[str, Any]) -> bytes:
    return as_json(value) + b"\n"


async def remove(call: Call) -> Response:
    """An idle model is let go of and removed; one that answers is refused."""
    request: ModelRequest = call.body
    refuse_others(call, f"Run `ouvert remove {request.named}` on it.")
    await call.service.remove(request.named)
    return Response(status_code=200)


async def make(_call: Call) -> Response:
    raise changes_nothing("`ouvert --help` says what there is.")


def refuse_others(call: Call, remedy: str) -> None:
    """Raises Refusal 403 where somebody else than the owner of the machine asks, or another page than the server's."""
    try:
        refuse_other_pages(call.request)
        refuse_all_but_the_owner(call.caller)
    except Refusal:
        raise changes_nothing(remedy) from None


def changes_nothing(remedy: str) -> Refusal:
    return Refusal(
        403,
        f"This server changes no models for you: the machine's owner does. {remedy} A program of the user who runs the "
        "server, on this machine, or with the owner's key (`ouvert key owner`), may ask here.",
        code="owner_only",
    )
