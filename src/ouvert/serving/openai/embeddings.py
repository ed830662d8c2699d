"""POST /v1/embeddings: texts to vectors. Also what Ollama's dialect needs of it."""

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from starlette.responses import Response

from ouvert.assistant import Embeddings, Model, Usage
from ouvert.serving.answers import AnswerInProgress
from ouvert.serving.body import TOKEN_VALUES
from ouvert.serving.endpoints import MOST_COUNT, Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.foreign_fields import EMBEDDINGS_REFUSED, OPENAI_HARMLESS
from ouvert.serving.loaded_models import Lease
from ouvert.serving.streams import JSONAnswer, unless_gone
from ouvert.serving.wire import Several, Wire

MOST_TEXTS = 2048  # OpenAI's
Texts = Sequence[str | Sequence[int]]


class EmbeddingsRequest(Wire):
    without_effect: ClassVar[frozenset[str]] = OPENAI_HARMLESS
    refused: ClassVar[Mapping[str, str]] = EMBEDDINGS_REFUSED

    model: str = Field(min_length=1, max_length=512)
    input: (
        str
        | Annotated[Several[int], Field(min_length=1)]
        | Annotated[Several[str] | Several[Several[int]], Field(min_length=1, max_length=MOST_TEXTS)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1, le=MOST_COUNT)

    @property
    def texts(self) -> Texts:
        match self.input:
            case str() | [int(), *_]:
                return [self.input]  # type: ignore[list-item]
        return self.input  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class EmbeddingTask:
    """Some texts to be made into vectors, all at once. Of those that do not fit, `truncate` takes the beginning."""

    model: str
    texts: Texts
    dimensions: int | None
    truncate: bool
    choices: int = 1

    def start(self, lease: Lease, number: int) -> "Embedding":
        return Embedding(lease.model, self)


@dataclass(frozen=True, slots=True)
class Embedding:
    """An `answers.Choice` of one event: all vectors."""

    model: Model
    task: EmbeddingTask

    def __iter__(self) -> Iterator[Embeddings]:
        task = self.task
        yield self.model.embed(task.texts, dimensions=task.dimensions, truncate=task.truncate)

    def cancel(self) -> None:
        """What is computed is soon over, and is not waited for."""


async def embedded(
    call: Call, model: str, texts: Texts, dimensions: int | None, *, truncate: bool, keep: float | None = float("nan")
) -> Embeddings:
    """`keep`: seconds the model stays from now on, if the client says so. Raises Refusal."""

    installed = call.service.permitted(model, call.caller)
    if (await call.service.description(installed)).embedding_size is None:
        raise Refusal(
            400,
            f"{installed.name} writes text and was not trained to make embeddings: vectors taken from its inside would "
            "compare badly. Use a model made for them, such as Qwen3-Embedding.",
            code="model_cannot_embed",
            param="model",
        )
    task = EmbeddingTask(model, texts, dimensions, truncate)
    answer = await unless_gone(call.request, call.service.begin(task, call.caller, "embd-" + secrets.token_hex(12)))
    answer.keep = keep
    try:
        [found] = await unless_gone(call.request, collected(answer))
        answer.count_tokens(Usage(prompt=sum(found.tokens), reused=0, output=0, reasoning=0))
    finally:
        await answer.close()
    return found


async def collected(answer: AnswerInProgress[Embeddings]) -> list[Embeddings]:
    return [event async for _, event in answer]


async def embeddings(call: Call) -> Response:
    request: EmbeddingsRequest = call.body
    found = await embedded(call, request.model, request.texts, request.dimensions, truncate=False)
    return JSONAnswer(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": n, "embedding": on_wire(vector, request)}
                for n, vector in enumerate(found.vectors)
            ],
            "model": request.model,
            "usage": {"prompt_tokens": sum(found.tokens), "total_tokens": sum(found.tokens)},
            **request.beside,
        }
    )


def on_wire(vector: np.ndarray, request: EmbeddingsRequest) -> Any:
    """Numbers, or what OpenAI's clients ask for: little-endian float32 in base64."""
    if request.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/embeddings",
        handler=embeddings,
        summary="Texts to vectors, with a model made for that",
        body=EmbeddingsRequest,
        values=TOKEN_VALUES,
    ),
)
