"""/api/…: the table of Ollama's endpoints (docs/formats/ollama-api.md)."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from ouvert.serving.body import TOKEN_VALUES
from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import ollama_error
from ouvert.serving.ollama.answer_lines import NDJSON
from ouvert.serving.ollama.changes import PullRequest, make, pull, remove
from ouvert.serving.ollama.chat import OllamaChat, chat
from ouvert.serving.ollama.embed import OllamaEmbed, OllamaEmbedding, embed, embed_one
from ouvert.serving.ollama.generate import OllamaGenerate, generate
from ouvert.serving.ollama.models import (
    ModelRequest,
    ShowRequest,
    in_memory,
    show,
    tags,
)
from ouvert.serving.streams import JSONAnswer

# Clients ask for features by it: VS Code wants 0.6.4 at least, `think` came with 0.9.0, logprobs with 0.12.11.
VERSION = "0.12.11"


async def version(_call: Call) -> Response:
    return JSONAnswer({"version": VERSION})


def own(method: str, path: str, handler: Callable[[Call], Awaitable[Response]], summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        method=method,
        path="/api/" + path,
        handler=handler,
        summary=summary,
        dialect=ollama_error,
        versioned=False,
        **more,
    )


ENDPOINTS = (
    own("POST", "chat", chat, "Ollama: answer a conversation", body=OllamaChat, answers=NDJSON),
    own(
        "POST",
        "generate",
        generate,
        "Ollama: answer or continue a text",
        body=OllamaGenerate,
        answers=NDJSON,
        values=TOKEN_VALUES,
    ),
    own("GET", "tags", tags, "Ollama: the models this server offers"),
    own("GET", "ps", in_memory, "Ollama: the models in memory"),
    own("POST", "show", show, "Ollama: what a model is and can do", body=ShowRequest),
    own("GET", "version", version, "Ollama: the version of its interface that is spoken here", public=True),
    own("POST", "embed", embed, "Ollama: texts to vectors", body=OllamaEmbed),
    own("POST", "embeddings", embed_one, "Ollama: one text to a vector", body=OllamaEmbedding),
    own(
        "POST",
        "pull",
        pull,
        "Ollama: done for a model that is here; others are fetched for the owner",
        body=PullRequest,
        answers=NDJSON,
    ),
    own("DELETE", "delete", remove, "Ollama: remove a model, for the owner", body=ModelRequest),
    own("POST", "push", make, "Ollama: refused"),
    own("POST", "create", make, "Ollama: refused"),
    own("POST", "copy", make, "Ollama: refused"),
)
