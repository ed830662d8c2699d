"""GET / and what it needs: the web page, which web/ is built into; and its own addresses under /api/ui.

The page talks to the model through the same interface as everybody else. What only it needs is here: conversations on
disk, and models with whether they fit. Other pages may not ask for these, wherever they come from.
"""

import asyncio
import hashlib
import mimetypes
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from pydantic import RootModel
from starlette.requests import Request
from starlette.responses import Response

from ouvert.assistant import is_toy, size_of
from ouvert.serving.body import TOKEN_VALUES
from ouvert.serving.callers import identify, opened_from
from ouvert.serving.endpoints import Call, Endpoint, Handler
from ouvert.serving.errors import Refusal, refusal_of
from ouvert.serving.model_facts import efforts_of, facts_of
from ouvert.serving.origin_guard import refuse_other_pages
from ouvert.serving.streams import JSONAnswer
from ouvert.serving.web.conversations import (
    ChangedMeanwhile,
    ConversationError,
    Conversations,
    NoSuchConversation,
    new_id,
    questions_of,
    texts_of,
)
from ouvert.store import Installed

FOLDER = Path(__file__).with_name("built")
RUNNING = "Ollama is running"  # what Ollama's clients look for at /

# Beside the policy, which is built with the page. Browsers look names in links up before a click, unless told not to.
HEADERS = {
    "referrer-policy": "no-referrer",
    "x-dns-prefetch-control": "off",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), interest-cohort=()",
}
FOREVER = "public, max-age=31536000, immutable"  # the names of assets hold their digest
ASK_AGAIN = "no-cache"

# A model that takes more of what models may use than this leaves little for its caches.
TIGHT = 0.85


class UncheckedJson(RootModel[dict[str, Any]]):
    """JSON that `conversations` checks."""


def page_files(folder: Path) -> Mapping[str, Path]:
    """Path in an address -> file: only what was there at the start can be asked for, so no address is a path."""
    return {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}


FILES = page_files(FOLDER)


async def front(call: Call) -> Response:
    """The page for browsers; for others the line that Ollama's clients look for."""
    if "text/html" not in call.request.headers.get("accept", ""):
        return Response(RUNNING, media_type="text/plain")
    return file_answer(call.request, "index.html")


async def asset(call: Call) -> Response:
    return file_answer(call.request, "assets/" + str(call.request.path_params["name"]))


async def icon(call: Call) -> Response:
    return file_answer(call.request, "icon.svg")


def file_answer(request: Request, name: str) -> Response:
    if name not in FILES:
        raise Refusal(404, f"The page has no file {name!r:.100}. Reload it: the server may have been updated.")
    content = FILES[name].read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "etag": tag, "cache-control": FOREVER if name.startswith("assets/") else ASK_AGAIN}
    if name == "index.html":
        headers["content-security-policy"] = FILES["content-security-policy.txt"].read_text("utf-8").strip()
        headers["vary"] = "Accept"
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    kind = "font/woff2" if name.endswith(".woff2") else mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(content, headers=headers, media_type="text/javascript" if name.endswith(".js") else kind)


def of_conversations(handler: Handler) -> Handler:
    """Turns a ConversationError into a refusal."""

    @wraps(handler)
    async def guarded(call: Call) -> Response:
        try:
            return await handler(call)
        except NoSuchConversation as problem:
            raise Refusal(404, str(problem), code="conversation_not_found") from None
        except ChangedMeanwhile as problem:
            raise Refusal(409, str(problem), code="changed_meanwhile") from None
        except ConversationError as problem:
            raise Refusal(400, str(problem), code="invalid_conversation") from None

    return guarded


def conversations_of(call: Call) -> Conversations:
    """The conversations of whoever asks: each key has its own, and so has the owner."""
    state = call.service.settings.state
    if state is None:
        raise Refusal(503, "This server was started without a folder for what it keeps, so it keeps no conversations.")
    folder = state / "conversations"
    key = call.caller.key
    return Conversations(folder if key is None or key.owner else folder / f"key-{key.id}")


def id_in_path(call: Call) -> str:
    return str(call.request.path_params["conversation_id"])


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


@of_conversations
async def list_conversations(call: Call) -> Response:
    kept, query = conversations_of(call), call.request.query_params.get("query", "")
    listing = await in_thread(lambda: kept.listing(query))
    damaged = [{"file": each.file, "fault": each.fault} for each in listing.damaged]
    return JSONAnswer({"conversations": list(listing.conversations), "damaged": damaged})


@of_conversations
async def get_conversation(call: Call) -> Response:
    kept, wanted = conversations_of(call), id_in_path(call)
    return JSONAnswer(await in_thread(lambda: kept.get(wanted)))


@of_conversations
async def put_conversation(call: Call) -> Response:
    kept, wanted, stated = conversations_of(call), id_in_path(call), call.body.root
    before, now = await in_thread(lambda: kept.exchange(wanted, stated))
    if before is not None and (gone := set(texts_of(before)) - set(texts_of(now))):
        await call.service.forget(sorted(gone), call.caller)
    return JSONAnswer(now)


@of_conversations
async def delete_conversation(call: Call) -> Response:
    kept, wanted = conversations_of(call), id_in_path(call)
    gone = await in_thread(lambda: kept.delete(wanted))
    await call.service.forget(None if gone is None else questions_of(gone), call.caller)
    return JSONAnswer({"deleted": 1})


@of_conversations
async def delete_conversations(call: Call) -> Response:
    count = await in_thread(conversations_of(call).delete_all)
    await call.service.forget(None, call.caller)
    return JSONAnswer({"deleted": count})


@of_conversations
async def export_conversations(call: Call) -> Response:
    return JSONAnswer(await in_thread(conversations_of(call).export))


@of_conversations
async def import_conversations(call: Call) -> Response:
    kept, stated = conversations_of(call), call.body.root
    outcome = await in_thread(lambda: kept.import_all(stated, new_id))
    return JSONAnswer(
        {"added": list(outcome.added), "unchanged": list(outcome.unchanged), "copied": list(outcome.copied)}
    )


async def list_models(call: Call) -> Response:
    refuse_other_pages(call.request)
    return JSONAnswer({"models": await in_thread(lambda: model_records(call))})


def model_records(call: Call) -> list[dict[str, Any]]:
    """Every model this caller may use: its facts, its state, and whether it fits into what models may use here."""
    service = call.service
    records = []
    for installed in service.loaded_models.catalog.every():
        if not call.caller.admits(installed.name):
            continue
        facts = facts_of(service, installed, efforts_of(service, installed))
        record = {"id": installed.name, **size_facts(installed), **facts}
        if not record.pop("writes_text"):
            continue  # a model of embeddings holds no conversation
        if (room := service.settings.memory) is not None:
            record["fit"] = {"state": fit(installed.size, room), "needs_bytes": installed.size, "available_bytes": room}
        records.append(record)
    return records


async def session(call: Call) -> Response:
    """What the page may say of where its words go, and whether it must ask for a key before it shows conversations."""
    refuse_other_pages(call.request)
    try:
        caller = identify(call.request, call.service.keys, counted=False)
    except Refusal as refusal:
        if refusal.status != 401:
            raise
        caller = None
    who = "nobody" if caller is None else "owner" if caller.is_owner else "guest" if caller.key is None else "key"
    return JSONAnswer(
        {
            "opened_from": opened_from(call.request),
            "who": who,
            "needs_key": caller is None,
            "reads_stored": caller is not None and caller.reads_stored,
        },
        headers={"cache-control": "no-store"},
    )


def size_facts(installed: Installed) -> dict[str, Any]:
    """The size of a model, loaded or not. A model whose files cannot be read is listed with what is wrong with it."""
    try:
        size = size_of(installed)
    except Exception as problem:
        refusal = refusal_of(problem)
        return {"writes_text": True, "fault": str(problem) if refusal is None else refusal.message}
    return {
        "family": size.family,
        "parameters": size.parameters,
        "context": size.context,
        "toy": is_toy(size.parameters),
        "writes_text": size.writes_text,
    }


def fit(needs: int, room: int) -> str:
    """Whether weights fit into the memory that models may use here; the server refuses to load what is too large."""
    if needs > room:
        return "too_large"
    return "tight" if needs > TIGHT * room else "fits"


def own(method: str, path: str, handler: Callable[[Call], Awaitable[Response]], summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        method=method, path=path, handler=handler, summary=summary, versioned=False, both_ways=False, **more
    )


def stored(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Endpoint:
    return own(method, path, handler, summary, private=True, **more)


ONE = "/api/ui/conversations/{conversation_id}"
ENDPOINTS = (
    own("GET", "/", front, "The web page; `Ollama is running` for programs", answers="text/html", public=True),
    own("GET", "/assets/{name}", asset, "Files of the web page", answers="*/*", public=True),
    own("GET", "/icon.svg", icon, "The page's icon", answers="image/svg+xml", public=True),
    own("GET", "/api/ui/session", session, "From where the page was opened, and who asks", public=True),
    own("GET", "/api/ui/models", list_models, "Models with their state and whether they fit, for the page"),
    stored("GET", "/api/ui/conversations", list_conversations, "The page's conversations; `query` searches them"),
    stored("DELETE", "/api/ui/conversations", delete_conversations, "Delete all of them"),
    stored("GET", ONE, get_conversation, "One conversation"),
    stored("PUT", ONE, put_conversation, "Keep a conversation", body=UncheckedJson, values=TOKEN_VALUES),
    stored("DELETE", ONE, delete_conversation, "Delete a conversation"),
    stored("GET", "/api/ui/export", export_conversations, "All conversations in one value"),
    stored(
        "POST",
        "/api/ui/import",
        import_conversations,
        "Keep all conversations of an export",
        body=UncheckedJson,
        values=TOKEN_VALUES,
    ),
)
