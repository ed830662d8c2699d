"""POST /v1/embeddings: none of the models served here makes embeddings, and the answer says so."""

from typing import Any

from pydantic import Field
from starlette.responses import Response

from ouvert.serving.endpoints import Call, Endpoint, Wire
from ouvert.serving.errors import Refusal


class EmbeddingsRequest(Wire):
    model: str = Field(min_length=1, max_length=512)
    input: Any = None
    encoding_format: str | None = None
    dimensions: int | None = None


async def embeddings(call: Call) -> Response:
    """Raises Refusal 404 for a model that is not here, else 400."""
    name = call.house.residents.catalog.find(call.body.model).installed.name
    raise Refusal(
        400,
        f"{name} writes text and was not trained to make embeddings, and vectors taken from its inside would compare "
        "badly. Use a model made for embeddings, in another program.",
        code="model_cannot_embed",
        param="model",
    )


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/embeddings",
        handler=embeddings,
        summary="Refused, clearly: no model here makes embeddings",
        body=EmbeddingsRequest,
    ),
)
