"""The assistant's events as a message of Anthropic's that grows, and as the events that tell of its growth."""

import json
from collections.abc import Iterator
from typing import Any

from ouvert.assistant import Cited, Event, Finished, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from ouvert.serving.anthropic.blocks import signature_of
from ouvert.serving.consulting import as_location

WireEvent = dict[str, Any]
PING: WireEvent = {"type": "ping"}
# Arguments that are not a JSON object, which only an answer that was held to nothing can have, stand below this name.
INVALID = "INVALID_JSON"


class MessageWriter:
    """Grows `message` with every event it takes, and gives the wire's events for it.

    `thoughts`: "shown"; "omitted", which leaves their signature; or "left out".
    """

    def __init__(self, message: dict[str, Any], thoughts: str = "shown") -> None:
        """`message` has no content yet."""
        self.message = message
        self._thoughts = thoughts
        self._block: dict[str, Any] | None = None  # the one being written: the last of the content
        self._written: list[str] = []  # its text, thought or arguments

    def begin(self) -> Iterator[WireEvent]:
        yield {"type": "message_start", "message": {**self.message, "content": []}}
        yield PING

    def take(self, event: Event) -> Iterator[WireEvent]:
        """Finished ends the last block; `end` ends the message."""
        match event:
            case ReasoningDelta(text):
                if self._thoughts != "left out":
                    yield from self._write({"type": "thinking", "thinking": "", "signature": ""}, text)
            case TextDelta(text):
                yield from self._write({"type": "text", "text": ""}, text)
            case Cited(facts):
                location = as_location(facts)
                self.message["content"][-1].setdefault("citations", []).append(location)
                yield self._delta({"type": "citations_delta", "citation": location})
            case ToolCallDelta():
                if event.id is not None:
                    yield from self._open({"type": "tool_use", "id": event.id, "name": event.name, "input": {}})
                if event.arguments:
                    yield self._delta({"type": "input_json_delta", "partial_json": event.arguments})
                    self._written.append(event.arguments)
            case Finished():
                yield from self._close()

    def end(self, finished: Finished, max_tokens: int | None, beside: dict[str, Any]) -> Iterator[WireEvent]:
        """The message is over. A call that the limit cut off is no call: the whole message is without it."""
        whole = {call.id for call in finished.tool_calls}
        content = [block for block in self.message["content"] if block["type"] != "tool_use" or block["id"] in whole]
        ended = {"stop_reason": stop_reason(finished, max_tokens), "stop_sequence": stop_sequence(finished)}
        usage = usage_of(finished.usage)
        self.message |= {"content": content, **ended, "usage": usage, "ouvert": beside}
        yield {"type": "message_delta", "delta": ended, "usage": usage, "ouvert": beside}
        yield {"type": "message_stop"}

    @property
    def _index(self) -> int:
        return len(self.message["content"]) - 1

    def _open(self, block: dict[str, Any]) -> Iterator[WireEvent]:
        yield from self._close()
        self._block, self._written = block, []
        self.message["content"].append(block)
        yield {"type": "content_block_start", "index": self._index, "content_block": dict(block)}

    def _write(self, empty: dict[str, Any], text: str) -> Iterator[WireEvent]:
        kind = empty["type"]
        if self._block is None or self._block["type"] != kind:
            yield from self._open(empty)
        self._written.append(text)
        if kind == "text" or self._thoughts == "shown":
            yield self._delta({"type": f"{kind}_delta", kind: text})

    def _delta(self, delta: dict[str, Any]) -> WireEvent:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _close(self) -> Iterator[WireEvent]:
        block, text = self._block, "".join(self._written)
        if block is None:
            return
        self._block = None
        match block["type"]:
            case "text":
                block["text"] = text
            case "thinking":
                block |= {"thinking": text if self._thoughts == "shown" else "", "signature": signature_of(text)}
                yield self._delta({"type": "signature_delta", "signature": block["signature"]})
            case "tool_use":
                block["input"] = input_of(text)
        yield {"type": "content_block_stop", "index": self._index}


def input_of(arguments: str) -> dict[str, Any]:
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return {INVALID: arguments}
    return value if isinstance(value, dict) else {INVALID: arguments}


def stop_reason(finished: Finished, max_tokens: int | None) -> str:
    """If an answer was cut off before the caller's limit, the context was full."""
    match finished.reason:
        case "tool_calls":
            return "tool_use"
        case "stop":
            return "end_turn" if stop_sequence(finished) is None else "stop_sequence"
        case "length" if max_tokens is None or finished.usage.output < max_tokens:
            return "model_context_window_exceeded"
    return "max_tokens"


def stop_sequence(finished: Finished) -> str | None:
    stop = finished.receipt["ended"].get("stop_string")
    return None if stop is None else str(stop)


def usage_of(usage: Usage) -> dict[str, Any]:
    """Tokens that were read from what is kept count apart, as Anthropic counts them: the sum is the prompt."""
    return {
        "input_tokens": usage.prompt - usage.reused,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.reused,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }
