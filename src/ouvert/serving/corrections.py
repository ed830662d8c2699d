"""/ouvert/corrections: answers that the owner corrected, kept on this machine for tuning. Nobody else sees them."""

import asyncio
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ouvert.serving.endpoints import Call, Endpoint
from ouvert.serving.errors import Refusal
from ouvert.serving.streams import JSONAnswer
from ouvert.store import Correction, Corrections, StoreError


class Strict(BaseModel):
    """Every field that is declared is kept, and there is no other."""

    model_config = ConfigDict(extra="forbid")


class SaidMessage(Strict):
    """One message of the conversation, in the words of /v1/chat/completions."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str = ""
    reasoning: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class CorrectionBody(Strict):
    """`messages` is the conversation before the answer; `given` what was answered, `wanted` what should have been.
    `receipt` is the id or the digest of the answer's receipt."""

    messages: list[SaidMessage] = Field(min_length=1)
    given: str = Field(min_length=1)
    wanted: str = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None
    reasoning_effort: str | None = None
    model: str | None = None
    receipt: str | None = None

    @property
    def said(self) -> dict[str, Any]:
        """As the store keeps it: what was left out is not there."""
        return self.model_dump(exclude_none=True)


def kept(call: Call) -> Corrections:
    return Corrections(call.service.store.home)


async def list_corrections(call: Call) -> Response:
    try:
        found = await asyncio.to_thread(kept(call).all)
    except StoreError:  # its text names a file
        raise Refusal(
            500,
            "A correction that is kept on this machine cannot be read. `ouvert corrections list` says which.",
            code="correction_damaged",
        ) from None
    return JSONAnswer({"object": "list", "data": [each.facts for each in found]})


async def add_correction(call: Call) -> Response:
    body: CorrectionBody = call.body
    try:
        made: Correction = await asyncio.to_thread(kept(call).add, body.said)
    except StoreError as problem:
        raise Refusal(400, str(problem), code="invalid_correction") from None
    return JSONAnswer(made.facts, 201)


async def remove_correction(call: Call) -> Response:
    identity = str(call.request.path_params["correction_id"])
    try:
        await asyncio.to_thread(kept(call).remove, identity)
    except StoreError:
        raise Refusal(404, f"There is no correction {identity!r:.80}.", code="correction_not_found") from None
    return JSONAnswer({"id": identity, "object": "correction", "deleted": True})


def endpoint(method: str, path: str, handler: Any, summary: str, **more: Any) -> Endpoint:
    return Endpoint(
        method=method,
        path=f"/ouvert/corrections{path}",
        handler=handler,
        summary=summary,
        owners=True,
        versioned=False,
        both_ways=False,
        **more,
    )


ENDPOINTS = (
    endpoint("GET", "", list_corrections, "Answers that were corrected"),
    endpoint("POST", "", add_correction, "Keep a corrected answer", body=CorrectionBody),
    endpoint("DELETE", "/{correction_id}", remove_correction, "Remove a corrected answer"),
)
