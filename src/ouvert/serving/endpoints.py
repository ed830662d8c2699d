"""What an endpoint is: a row of a table, from which routes and the description of the interface are made."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from ouvert.serving.body import Bounds, read_json
from ouvert.serving.callers import Caller
from ouvert.serving.errors import Dialect, openai_error
from ouvert.serving.service import Service
from ouvert.serving.validation import refusal_of_validation
from ouvert.serving.wire import Wire, checked

# What whole numbers of a request may be at most: counts of things, and of tokens, for which clients like to send the
# largest number they have.
MOST_COUNT = 2**31 - 1
MOST_TOKENS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request on its way through an endpoint. `body` is what the endpoint declared, or None.

    `caller` is who asks; a public endpoint does not ask who that is.
    """

    service: Service
    request: Request
    body: Any
    caller: Caller


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`path` is written without /v1. `versioned`: it is described below it. `both_ways`: it answers with and
    without it. `public`: no key is asked for. `private`: it shows what is stored here, so it is for the owner and for
    keys, and for no page but the server's own. `owners`: it is about which models are here, so it is for the owner
    alone, and for no page but the server's own. `answers`: the media type of a good answer. `values`: the most that its
    body may hold, where that is more than elsewhere.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    body: type[BaseModel] | None = None
    values: int = 0
    answers: str = "application/json"
    public: bool = False
    private: bool = False
    owners: bool = False
    versioned: bool = True
    both_ways: bool = True
    dialect: Dialect = openai_error


async def read_body(request: Request, model: type[BaseModel], bounds: Bounds) -> BaseModel:
    """The body as `model`. Raises Refusal."""
    return as_body(await read_json(request, bounds), model)


def as_body(value: Any, model: type[BaseModel]) -> BaseModel:
    """A value that came as JSON, as `model`. Raises Refusal."""
    try:
        body_read = model.model_validate(value)
    except ValidationError as problem:
        raise refusal_of_validation(problem, value) from None
    if isinstance(body_read, Wire):
        checked(body_read)
    return body_read
