"""/api/ui/conversations and what moves them in and out: the page's conversations on this machine."""

import asyncio
from functools import wraps
from typing import Any

from pydantic import RootModel
from starlette.responses import Response

from ouvert.serving.endpoints import Call, Handler
from ouvert.serving.errors import Refusal
from ouvert.serving.sentences import sentence_of
from ouvert.serving.streams import JSONAnswer
from ouvert.serving.web.conversation_format import ConversationError, questions_of, texts_of
from ouvert.serving.web.conversations import ChangedMeanwhile, Conversations, NoSuchConversation, new_id


class UncheckedJson(RootModel[dict[str, Any]]):
    """JSON that `conversations` checks."""


def of_conversations(handler: Handler) -> Handler:
    """Turns a ConversationError into a refusal."""

    @wraps(handler)
    async def guarded(call: Call) -> Response:
        try:
            return await handler(call)
        except NoSuchConversation as problem:
            raise Refusal(404, sentence_of(problem), code="conversation_not_found") from None
        except ChangedMeanwhile as problem:
            raise Refusal(409, sentence_of(problem), code="changed_meanwhile") from None
        except ConversationError as problem:
            raise Refusal(400, sentence_of(problem), code="invalid_conversation") from None

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


@of_conversations
async def list_conversations(call: Call) -> Response:
    kept, query = conversations_of(call), call.request.query_params.get("query", "")
    listing = await asyncio.to_thread(kept.listing, query)
    damaged = [{"file": each.file, "fault": each.fault} for each in listing.damaged]
    return JSONAnswer({"conversations": list(listing.conversations), "damaged": damaged})


@of_conversations
async def get_conversation(call: Call) -> Response:
    kept, wanted = conversations_of(call), id_in_path(call)
    return JSONAnswer(await asyncio.to_thread(kept.get, wanted))


@of_conversations
async def put_conversation(call: Call) -> Response:
    kept, wanted, stated = conversations_of(call), id_in_path(call), call.body.root
    before, now = await asyncio.to_thread(kept.exchange, wanted, stated)
    if before is not None and (gone := set(texts_of(before)) - set(texts_of(now))):
        await call.service.forget(sorted(gone), call.caller)
    return JSONAnswer(now)


@of_conversations
async def delete_conversation(call: Call) -> Response:
    kept, wanted = conversations_of(call), id_in_path(call)
    gone = await asyncio.to_thread(kept.delete, wanted)
    await call.service.forget(None if gone is None else questions_of(gone), call.caller)
    return JSONAnswer({"deleted": 1})


@of_conversations
async def delete_conversations(call: Call) -> Response:
    count = await asyncio.to_thread(conversations_of(call).delete_all)
    await call.service.forget(None, call.caller)
    return JSONAnswer({"deleted": count})


@of_conversations
async def export_conversations(call: Call) -> Response:
    return JSONAnswer(await asyncio.to_thread(conversations_of(call).export))


@of_conversations
async def import_conversations(call: Call) -> Response:
    kept, stated = conversations_of(call), call.body.root
    outcome = await asyncio.to_thread(kept.import_all, stated, new_id)
    return JSONAnswer(
        {"added": list(outcome.added), "unchanged": list(outcome.unchanged), "copied": list(outcome.copied)}
    )
