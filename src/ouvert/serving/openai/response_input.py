"""The items that a response is asked with: those sent, and those of the responses before it."""

from dataclasses import dataclass
from typing import Any

from ouvert.assistant import Message
from ouvert.serving.endpoints import Call
from ouvert.serving.errors import Refusal
from ouvert.serving.openai.response_events import new_id
from ouvert.serving.openai.response_items import Item, is_reference, messages_of, resolved
from ouvert.serving.openai.response_request import InputRequest
from ouvert.serving.openai.response_store import responses_of

ID_PREFIX = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}
ID_PREFIX |= {"custom_tool_call": "ctc", "custom_tool_call_output": "ctco"}


def sent_items(request: InputRequest) -> list[dict[str, Any]]:
    """What was sent, as items with ids."""
    if request.input is None:
        return []
    if isinstance(request.input, str):
        given: list[dict[str, Any]] = [{"type": "message", "role": "user", "content": request.input}]
    else:
        given = request.input
    return [with_id(item) for item in given]


def with_id(item: dict[str, Any]) -> dict[str, Any]:
    kind = "item_reference" if is_reference(item) else item.get("type") or "message"
    kept = isinstance(item.get("id"), str) and 0 < len(item["id"]) <= 256
    identity = item["id"] if kept else new_id(ID_PREFIX.get(str(kind), "item"))
    return {**item, "type": kind, "id": identity}


@dataclass(frozen=True, slots=True)
class Conversation:
    """`items` are those sent now, `context` those and all before them, `messages` what the model reads of them."""

    items: list[dict[str, Any]]
    context: list[Item]
    messages: list[Message]


def conversation_of(call: Call, request: InputRequest) -> Conversation:
    """Raises Refusal where nothing was sent, or what it refers to is not stored here."""
    store = responses_of(call)
    items = sent_items(request)
    if request.input in (None, "", []) and request.previous_response_id is None:
        raise Refusal(
            400,
            "Neither input nor previous_response_id was sent, or both are empty; expected text or items. Send input.",
            code="missing_required_parameter" if request.input is None else "invalid_value",
            param="input",
        )
    before: list[Item] = []
    if request.previous_response_id is not None:
        previous = store.find(request.previous_response_id, call.caller)
        if previous is None:
            raise Refusal(
                400,
                f"previous_response_id: {request.previous_response_id!r:.100} is not stored here. The last "
                f"{call.service.settings.stored_responses} are, while the server runs. Send the items themselves.",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        before = [*previous.context, *previous.response["output"]]
    known = store.seen_by(call.caller)
    context = resolved([*before, *items], known)
    messages = messages_of(context, known)
    if request.instructions:
        messages.insert(0, Message(role="developer", content=request.instructions))
    if not messages:
        raise Refusal(400, "input holds no message, expected at least one.", code="invalid_value", param="input")
    return Conversation(items, context, messages)
