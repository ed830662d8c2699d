"""POST /v1/embeddings: texts to vectors."""

import base64
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from starlette.responses import Response

from ouvert.serving.body import TOKEN_VALUES
from ouvert.serving.embedding import MOST_TEXTS, Texts, embedded
from ouvert.serving.endpoints import MOST_COUNT, Call, Endpoint
from ouvert.serving.openai.foreign_fields import EMBEDDINGS_REFUSED, OPENAI_HARMLESS
from ouvert.serving.streams import JSONAnswer
from ouvert.serving.wire import Several, Wire


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
