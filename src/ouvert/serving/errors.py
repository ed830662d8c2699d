"""What a request can be refused for, before it is written in a dialect's own words."""

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ouvert.agents import AgentError
from ouvert.assistant import (
    AssistantError,
    ContextExceeded,
    EffortError,
    EngineBusyError,
    EngineError,
    EngineFailedError,
    EngineFaultError,
    EngineUnreachableError,
    TokenizerError,
)
from ouvert.chat import ChatError
from ouvert.documents import DocumentError
from ouvert.inspection import InspectionError
from ouvert.serving.sentences import sentence_of
from ouvert.store import CheckpointError, JobBusy, JobError, NoSuchFile, NoSuchJob, PrecisionError, StoreError

# Status -> the kind of error, in OpenAI's words.
KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
    507: "server_error",
}
# What the system says where there is no room on the disk, and where there are no descriptors or threads.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
SOON = 5  # seconds; advice where something may pass
# Where Anthropic's words differ.
ANTHROPIC_KINDS = KINDS | {
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    500: "api_error",
    507: "api_error",
}


@dataclass
class Refusal(Exception):  # noqa: N818 - it is no fault of ours
    """A request that is not served. `code` is for programs, `param` names the wrong field.

    `facts` are numbers to act on; `retry_after`: seconds after which the same request may be served; `headers` go with
    the answer.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    retry_after: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind of error, in OpenAI's words. Raises nothing."""
        return KINDS.get(self.status, "invalid_request_error")


Dialect = Callable[[Refusal], dict[str, Any]]


def openai_error(refusal: Refusal) -> dict[str, Any]:
    error = {"message": refusal.message, "type": refusal.kind, "param": refusal.param, "code": refusal.code}
    return {"error": error | dict(refusal.facts)}


def anthropic_error(refusal: Refusal) -> dict[str, Any]:
    """Clients of this dialect know a prompt that is too long by how its message begins."""
    message = refusal.message
    if refusal.code == "context_length_exceeded":
        facts = refusal.facts
        message = f"prompt is too long: {facts['n_prompt_tokens']} tokens > {facts['n_ctx']} maximum. {message}"
    kind = ANTHROPIC_KINDS.get(refusal.status, "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def ollama_error(refusal: Refusal) -> dict[str, Any]:
    """Ollama's clients show the text; some look for "not found" in it before they offer to fetch a model."""
    missing = refusal.code == "model_not_found"
    return {"error": f"model not found: {refusal.message}" if missing else refusal.message}


def dialect_of(path: str) -> Dialect:
    """What the clients of an address read, whether there is something at it or not."""
    plain = "/" + "/".join(part for part in path.split("/") if part)
    while plain.startswith("/v1/"):
        plain = plain.removeprefix("/v1")
    if is_below(plain, "/api") and not is_below(plain, "/api/ui"):
        return ollama_error
    return anthropic_error if is_below(plain, "/messages") else openai_error


def is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def refusal_of(problem: Exception) -> Refusal | None:
    """The refusal that a known error amounts to; None for what nobody foresaw. No path of this machine is in it."""
    match problem:
        case Refusal():
            return problem
        case ContextExceeded(prompt_tokens=prompt, context=context):
            facts = {"n_prompt_tokens": prompt, "n_ctx": context}
            return Refusal(400, sentence_of(problem), code="context_length_exceeded", param="messages", facts=facts)
        case EffortError():
            return Refusal(400, sentence_of(problem), code="invalid_value", param="reasoning_effort")
        case EngineBusyError():
            return Refusal(503, sentence_of(problem), code="overloaded", retry_after=2)
        case EngineFailedError():
            return Refusal(503, sentence_of(problem), code="model_recovering", retry_after=SOON)
        case EngineUnreachableError():
            return Refusal(503, sentence_of(problem), code="engine_unreachable", retry_after=SOON)
        case EngineFaultError():
            return Refusal(500, sentence_of(problem), code="internal")
        case OSError(errno=number) if number in NO_ROOM:
            why = f"{problem.strerror}. Free some room there; what was kept before is still there."
            return Refusal(507, f"Nothing can be written to the disk now: {why}", code="no_room")
        case OSError(errno=number) if number in NONE_LEFT:
            why = f"{problem.strerror}. Ask again in a few seconds, or let the owner raise its limits (ulimit -n)."
            return Refusal(503, f"The system gives no more now: {why}", code="overloaded", retry_after=SOON)
        case MemoryError():
            sentence = "There is no memory for this now. Ask again in a few seconds, or send less at once."
            return Refusal(503, sentence, code="overloaded", retry_after=SOON)
        case RecursionError():
            sentence = "Something in the request is nested too deeply. Send it with fewer levels."
            return Refusal(400, sentence, code="invalid_value")
        case AgentError() | AssistantError() | ChatError() | EngineError() | InspectionError() | ValueError():
            return Refusal(400, sentence_of(problem), code="invalid_value")
        case TokenizerError() | DocumentError():
            return Refusal(400, sentence_of(problem), code="invalid_value")
        case DocumentError():
            return Refusal(400, sentence_of(problem), code="documents_unusable", param="ouvert.documents")
        case PrecisionError():
            return Refusal(400, sentence_of(problem), code="model_unusable", param="model")
        case CheckpointError():
            return Refusal(500, sentence_of(problem), code="model_unusable", param="model")
        case NoSuchFile() | NoSuchJob():
            return Refusal(404, sentence_of(problem), code="not_found")
        case JobError():
            return Refusal(409 if isinstance(problem, JobBusy) else 500, sentence_of(problem), code="job_unusable")
        case StoreError():
            return Refusal(404, sentence_of(problem), code="model_not_found", param="model")
    return None
