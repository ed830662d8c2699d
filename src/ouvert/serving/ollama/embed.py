"""POST /api/embed and /api/embeddings: texts to vectors."""

import time
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from ouvert.serving.embedding import MOST_TEXTS, embedded
from ouvert.serving.endpoints import MOST_COUNT, Call
from ouvert.serving.ollama.keep_alive import seconds_of
from ouvert.serving.ollama.models import ModelRequest
from ouvert.serving.streams import JSONAnswer, unless_gone
from ouvert.serving.wire import Several


class OllamaTexts(ModelRequest):
    keep_alive: float | str | None = None
    options: dict[str, Any] | None = None  # of answers; none concerns vectors

    @property
    def keep(self) -> float | None:
        return float("nan") if self.keep_alive is None else seconds_of(self.keep_alive)


class OllamaEmbed(OllamaTexts):
    """`truncate` (default: true): only the beginning of a text that does not fit counts."""

    input: str | Annotated[Several[str], Field(max_length=MOST_TEXTS)] = Field(default_factory=list)
    truncate: bool | None = None
    dimensions: int | None = Field(None, ge=1, le=MOST_COUNT)


class OllamaEmbedding(OllamaTexts):
    prompt: str = Field(min_length=1)


async def embed(call: Call) -> Response:
    request: OllamaEmbed = call.body
    began = time.monotonic_ns()
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not texts:  # only to load it
        (await unless_gone(call.request, call.service.borrow(request.named, call.caller))).give_back(request.keep)
        return JSONAnswer({"model": request.named, "embeddings": [], **request.beside})
    truncate = request.truncate is not False
    found = await embedded(call, request.named, texts, request.dimensions, truncate=truncate, keep=request.keep)
    return JSONAnswer(
        {
            "model": request.named,
            "embeddings": found.vectors.tolist(),
            "total_duration": time.monotonic_ns() - began,
            "load_duration": 0,
            "prompt_eval_count": sum(found.tokens),
            **request.beside,
        }
    )


async def embed_one(call: Call) -> Response:
    """The older form: one text, one vector."""
    request: OllamaEmbedding = call.body
    found = await embedded(call, request.named, [request.prompt], None, truncate=True, keep=request.keep)
    return JSONAnswer({"embedding": found.vectors[0].tolist(), **request.beside})
