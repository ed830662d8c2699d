"""One request of a batch, answered through the same endpoint as if a client had sent it."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request

from ouvert.serving import receipts
from ouvert.serving.callers import Caller
from ouvert.serving.endpoints import Call, Endpoint, as_body
from ouvert.serving.errors import Refusal, openai_error, refusal_of
from ouvert.serving.openai import chat_completions, completions, embeddings, responses
from ouvert.serving.service import Service

LOG = logging.getLogger("ouvert.serving")

ENDPOINTS: Mapping[str, Endpoint] = {
    f"/v1{endpoint.path}": endpoint
    for endpoint in (
        *chat_completions.ENDPOINTS,
        *(each for each in responses.ENDPOINTS if each.path == "/responses"),
        *completions.ENDPOINTS,
        *embeddings.ENDPOINTS,
    )
}
SEEDED = frozenset(ENDPOINTS) - {"/v1/embeddings"}
MOST_TRIES = (
    10  # of a request during which the model's engine failed, before the request itself is taken to be the fault
)
LONGEST_WAIT = 60.0  # seconds between two tries
REFUSED = {
    "stream": "the answers of a batch are written to a file, and none is streamed",
    "background": "a batch is answered in the background in any case",
}


# Codes of refusals that every other request of the batch would get as well.
ENDING = frozenset({"key_revoked", "model_unusable", "model_too_large"})


class NoneAnswered(Exception):  # noqa: N818, it says what is the case
    """No request of this batch can be answered. `error` says why, as the endpoint does."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("message")))
        self.error = error


@dataclass(frozen=True, slots=True)
class Response:
    """What came of a request. `request_id` is its receipt's, None where there is none."""

    status: int
    body: Mapping[str, Any]
    request_id: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it is an answer. Raises nothing."""
        return self.status < 300


@dataclass(frozen=True, slots=True)
class Asking:
    """Requests of one batch. `seed` makes the seeds of those that state none, each from its custom_id: so the same
    batch has the same answers, whenever and however often it was interrupted."""

    service: Service
    app: Starlette
    caller: Caller
    seed: str

    async def answer(self, url: str, custom_id: str, body: Mapping[str, Any]) -> Response:
        """The answer, or the error that is the request's own. What passes (a model being loaded, no free place, an
        engine that failed) is waited for.

        Raises NoneAnswered, and OSError where the disk takes no more.
        """
        tries = 0
        while True:
            response = await self._asked(url, self._completed(url, custom_id, body))
            error = response.body.get("error") if not response.ok else None
            code = error.get("code") if isinstance(error, Mapping) else None
            if code in ENDING:
                raise NoneAnswered(error or {})
            tries += code == "model_recovering"
            if response.status != 503 or tries == MOST_TRIES:
                return response
            await asyncio.sleep(min(LONGEST_WAIT, 2.0**tries))

    def _completed(self, url: str, custom_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body with what a batch adds where its sender says nothing."""
        added: dict[str, Any] = {}
        if url in SEEDED and body.get("seed") is None:
            digest = hashlib.sha256(f"{self.seed}\n{custom_id}".encode("utf-8", "surrogatepass")).digest()
            added["seed"] = int.from_bytes(digest[:4], "big")
        if url == "/v1/responses" and body.get("store") is None:
            added["store"] = False  # thousands of them would push out what clients stored
        return {**body, **added}

    async def _asked(self, url: str, body: dict[str, Any]) -> Response:
        endpoint = ENDPOINTS[url]
        assert endpoint.body is not None  # noqa: S101 - each of the table has one
        try:
            refuse_unfit(url, body)
            call = Call(
                service=self.service,
                request=nobodys_request(self.app, url),
                body=as_body(body, endpoint.body),
                caller=self.caller,
            )
            answered = await endpoint.handler(call)
        except Exception as problem:
            refusal = refusal_of(problem)
            if refusal is None:
                LOG.exception("a batch's request to %s", url)
                refusal = Refusal(500, "Something went wrong here, and the server's log says what.", code="internal")
            if refusal.code == "no_room":
                raise
            return Response(refusal.status, openai_error(refusal))
        return Response(answered.status_code, json.loads(bytes(answered.body)), answered.headers.get(receipts.HEADER))


def refuse_unfit(url: str, body: Mapping[str, Any]) -> None:
    """Raises Refusal for what makes no sense in a batch."""
    for name, reason in REFUSED.items():
        if body.get(name):
            raise Refusal(400, f"{name}: {reason}. Leave it out.", code="unsupported_parameter", param=name)
    if url == "/v1/responses" and body.get("store"):
        raise Refusal(
            400, "store: a batch's responses are kept in its output file alone. Leave it out.",
            code="unsupported_parameter", param="store",
        )  # fmt: skip


def nobodys_request(app: Starlette, url: str) -> Request:
    """A request whose client waits for ever and reads nothing else."""

    async def receive() -> dict[str, Any]:
        await asyncio.get_running_loop().create_future()
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": url, "headers": [], "query_string": b"", "app": app}
    return Request({**scope, "path_params": {}}, receive)
