"""The table of the page's endpoints: the page itself, and its own addresses under /api/ui.

The page talks to the model through the same interface as everybody else. Under /api/ui is what only the page needs:
conversations on disk, models with whether they fit, and fetching and removing them, which is the owner's alone. Other
pages may not ask for these, wherever they come from.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from ouvert.serving.body import TOKEN_VALUES
from ouvert.serving.endpoints import Call, Endpoint, Handler
from ouvert.serving.web.conversation_endpoints import (
    UncheckedJson,
    delete_conversation,
    delete_conversations,
    export_conversations,
    get_conversation,
    import_conversations,
    list_conversations,
    put_conversation,
)
from ouvert.serving.web.fetching import (
    FetchRequest,
    begin_fetch,
    give_up_fetch,
    list_fetches,
    list_obtainable,
    remove_model,
)
from ouvert.serving.web.models import list_models
from ouvert.serving.web.page import asset, front, icon
from ouvert.serving.web.session import session


def own(method: str, path: str, handler: Callable[[Call], Awaitable[Response]], summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        method=method, path=path, handler=handler, summary=summary, versioned=False, both_ways=False, **more
    )


def stored(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Endpoint:
    return own(method, path, handler, summary, private=True, **more)


def owners(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Endpoint:
    return own(method, path, handler, summary, owners=True, **more)


ONE = "/api/ui/conversations/{conversation_id}"
ENDPOINTS = (
    own("GET", "/", front, "The web page; `Ollama is running` for programs", answers="text/html", public=True),
    own("GET", "/assets/{name}", asset, "Files of the web page", answers="*/*", public=True),
    own("GET", "/icon.svg", icon, "The page's icon", answers="image/svg+xml", public=True),
    own("GET", "/api/ui/session", session, "From where the page was opened, and who asks", public=True),
    own("GET", "/api/ui/models", list_models, "Models with their state and whether they fit, for the page"),
    owners(
        "GET", "/api/ui/obtainable", list_obtainable, "Models that can be fetched: sizes, licence, fit, speed, hosts"
    ),
    owners("GET", "/api/ui/fetches", list_fetches, "Fetches under way, over, or begun and not finished"),
    owners(
        "POST", "/api/ui/fetches", begin_fetch, "Fetch a model from the hosts that were agreed to", body=FetchRequest
    ),
    owners("DELETE", "/api/ui/fetches/{name:path}", give_up_fetch, "Give a fetch up; what has arrived is kept"),
    owners(
        "DELETE", "/api/ui/models/{name:path}", remove_model, "Remove a model, or what is here of an unfinished one"
    ),
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
