"""What the official libraries ask for and this server does not offer: a refusal that says what there is instead."""

from collections.abc import Awaitable, Callable

from starlette.responses import Response

from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Dialect, Refusal, anthropic_error, ollama_error, openai_error

BATCHES = (
    "Batches of messages are not offered here: send each message to /v1/messages; this server answers many at once."
)
CONVERSATIONS = (
    "Conversations are not kept for clients here: send previous_response_id to /v1/responses, or the items themselves."
)
COMPACTION = (
    'Compaction is not offered here: send truncation: "auto" to /v1/responses, which leaves out the oldest turns and '
    "says so, or send fewer items."
)
BLOBS = "This server takes no files: the machine's owner brings models, with `ouvert pull`."
STORED_COMPLETIONS = "Chat Completions are not stored here: /v1/responses stores what it answers."
ONE_CONVERSATION = "/conversations/{conversation_id}"
# (methods, path, dialect, what is said)
ROWS: tuple[tuple[str, str, Dialect, str], ...] = (
    ("POST", "/responses/compact", openai_error, COMPACTION),
    ("POST", "/conversations", openai_error, CONVERSATIONS),
    ("GET POST DELETE", ONE_CONVERSATION, openai_error, CONVERSATIONS),
    ("GET POST", f"{ONE_CONVERSATION}/items", openai_error, CONVERSATIONS),
    ("GET DELETE", f"{ONE_CONVERSATION}/items/{{item_id}}", openai_error, CONVERSATIONS),
    ("GET POST DELETE", "/chat/completions/{completion_id}", openai_error, STORED_COMPLETIONS),
    ("GET POST", "/messages/batches", anthropic_error, BATCHES),
    ("GET DELETE", "/messages/batches/{batch_id}", anthropic_error, BATCHES),
    ("POST", "/messages/batches/{batch_id}/cancel", anthropic_error, BATCHES),
    ("GET", "/messages/batches/{batch_id}/results", anthropic_error, BATCHES),
    ("HEAD POST", "/api/blobs/{digest}", ollama_error, BLOBS),
)


def refusing(sentence: str) -> Callable[[Call], Awaitable[Response]]:
    async def refuse(_call: Call) -> Response:
        raise Refusal(404, sentence, code="not_offered")

    return refuse


ENDPOINTS = tuple(
    Endpoint(
        method=method,
        path=path,
        handler=refusing(sentence),
        summary=f"Refused: {sentence.partition(':')[0][0].lower()}{sentence.partition(':')[0][1:]}",
        dialect=dialect,
        versioned=not path.startswith("/api/"),
    )
    for methods, path, dialect, sentence in ROWS
    for method in methods.split()
)
