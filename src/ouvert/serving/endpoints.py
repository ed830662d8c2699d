"""What an endpoint is: a row of a table, from which routes and the description of the interface are made."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from ouvert.serving.content_encoding import codings_of, unpacked
from ouvert.serving.errors import Dialect, Refusal, openai_error
from ouvert.serving.house import House
from ouvert.serving.keys import Key
from ouvert.serving.validation import refusal_of_validation

# What whole numbers of a request may be at most: counts of things, and of tokens, for which clients like to send the
# largest number they have.
MOST_COUNT = 2**31 - 1
MOST_TOKENS = 2**63 - 1


class Wire(BaseModel):
    """A request. Unknown fields are ignored; numbers are finite."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, protected_namespaces=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request on its way through an endpoint. `body` is what the endpoint declared, or None."""

    house: House
    request: Request
    body: Any
    caller: Key | None


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`path` is written without /v1. `versioned`: it is described below it. `both_ways`: it answers with and
    without it. `public`: no key is asked for. `answers`: the media type of a good answer.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    body: type[BaseModel] | None = None
    answers: str = "application/json"
    public: bool = False
    versioned: bool = True
    both_ways: bool = True
    dialect: Dialect = openai_error


async def read_body(request: Request, model: type[BaseModel], limit: int, seconds: float) -> BaseModel:
    """The body as `model`, unpacked where it came compressed; `limit` holds for both sizes. Raises Refusal."""
    codings = codings_of(request.headers.get("content-encoding", ""))
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise too_large(limit)
    pieces, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    raise too_large(limit)
                pieces.append(piece)
    except TimeoutError:
        raise Refusal(
            408, f"The body had not come after {seconds:g} s. Send it faster, or in a smaller request.", code="timeout"
        ) from None
    body: bytes | None = b"".join(pieces)
    if codings and body:
        body = await asyncio.to_thread(unpacked, body, codings, limit)
        if body is None:
            raise too_large(limit)
    try:
        value = json.loads(body or b"{}", parse_constant=refuse_constant, parse_float=finite)
    except (ValueError, RecursionError) as problem:
        fault = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
        raise Refusal(400, f"The body is not JSON: {fault}. Send a JSON object.", code="invalid_json") from None
    try:
        return model.model_validate(value)
    except ValidationError as problem:
        raise refusal_of_validation(problem, value) from None


def too_large(limit: int) -> Refusal:
    return Refusal(
        413,
        f"The body is larger than {limit} bytes, which is the most this server reads. Send less at once.",
        code="body_too_large",
    )


def refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text:.40} is too large")
    return value
