"""The assistant's events as a Responses object that grows, and as the events that tell of its growth."""

import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, get_args

from ouvert.assistant import Cited, Event, Finished, ReasoningDelta, ScoredText, TextDelta, ToolCallDelta, Usage
from ouvert.serving.consulting import as_annotations
from ouvert.serving.logprobs import scored_token
from ouvert.serving.openai.response_tools import text_in

WireEvent = dict[str, Any]
Status = Literal["completed", "incomplete", "failed", "cancelled"]
OVER = get_args(Status)
# The part of each kind of item that has one: its type, what else it holds, and the stem of its events' names.
PARTS: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "reasoning": ("reasoning_text", {}, "response.reasoning_text"),
    "message": ("output_text", {"annotations": [], "logprobs": []}, "response.output_text"),
}


class ResponseWriter:
    """Grows `response` with every event it takes, and gives the wire's events for it. Numbered from 0."""

    def __init__(self, response: dict[str, Any], custom: Collection[str] = (), base: str = "/") -> None:
        """`response` is in progress, and has no output yet. `custom`: names of tools that are called with a text.
        `base`: of addresses of what is cited."""
        self.response = response
        self._custom, self._base = custom, base
        self._arguments: list[str] = []  # of a call of such a tool
        self._number = 0
        self._item: dict[str, Any] | None = None  # the one being written: the last of the output
        self._call_index: int | None = None

    def begin(self) -> Iterator[WireEvent]:
        yield self._event("response.created", response=snapshot(self.response))
        yield self._event("response.in_progress", response=snapshot(self.response))

    def take(self, event: Event) -> Iterator[WireEvent]:
        """Finished ends the last item; `end` ends the response."""
        match event:
            case ReasoningDelta(text):
                yield from self._write("reasoning", text)
            case TextDelta(text):
                yield from self._write("message", text, event)
            case Cited(facts):
                yield from self._annotate(facts)
            case ToolCallDelta():
                yield from self._call(event)
            case Finished():
                whole = event.reason in ("stop", "tool_calls")
                yield from self._close("completed" if whole else "incomplete")

    def end(self, status: Status, usage: Usage | None, **changes: Any) -> Iterator[WireEvent]:
        """The response is over; `changes` are fields of it."""
        yield from self._close("completed" if status == "completed" else "incomplete")
        self.response |= {
            "status": status,
            "completed_at": int(time.time()) if status == "completed" else None,
            "usage": None if usage is None else usage_of(usage),
            **changes,
        }
        name = status if status != "cancelled" else "incomplete"
        yield self._event(f"response.{name}", response=snapshot(self.response))

    def _event(self, kind: str, **fields: Any) -> WireEvent:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return event

    @property
    def _place(self) -> dict[str, Any]:
        assert self._item is not None  # noqa: S101 - asked for only while an item is written
        return {"item_id": self._item["id"], "output_index": len(self.response["output"]) - 1}

    def _open(self, item: dict[str, Any]) -> Iterator[WireEvent]:
        yield from self._close("completed")
        self._item = item
        self.response["output"].append(item)
        yield self._event("response.output_item.added", output_index=self._place["output_index"], item=snapshot(item))

    def _write(self, kind: str, text: str, event: TextDelta | None = None) -> Iterator[WireEvent]:
        part_type, extra, stem = PARTS[kind]
        if self._item is None or self._item["type"] != kind:
            yield from self._open(new_item(kind))
            assert self._item is not None  # noqa: S101 - just opened
            part = {"type": part_type, "text": "", **snapshot(extra)}
            self._item["content"].append(part)
            yield self._event("response.content_part.added", **self._place, content_index=0, part=snapshot(part))
        part = self._item["content"][0]
        part["text"] += text
        scored: dict[str, Any] = {}
        if kind == "message":
            tokens = [scored_token(token) for token in event.tokens] if isinstance(event, ScoredText) else []
            part["logprobs"] += tokens
            scored = {"logprobs": tokens}
        yield self._event(f"{stem}.delta", **self._place, content_index=0, delta=text, **scored)

    def _annotate(self, facts: Mapping[str, Any]) -> Iterator[WireEvent]:
        assert self._item is not None  # noqa: S101 - a citation follows its mark
        for each in as_annotations(facts, self._base):
            annotations = self._item["content"][0]["annotations"]
            annotations.append(each)
            yield self._event(
                "response.output_text.annotation.added",
                **self._place,
                content_index=0,
                annotation_index=len(annotations) - 1,
                annotation=each,
            )

    def _call(self, event: ToolCallDelta) -> Iterator[WireEvent]:
        if event.id is not None:
            custom = event.name in self._custom
            item = new_item("custom_tool_call" if custom else "function_call")
            item |= {"call_id": event.id, "name": event.name, "input" if custom else "arguments": ""}
            yield from self._open(item)
            self._arguments = []
        assert self._item is not None  # noqa: S101 - a call begins with its id
        if event.arguments and self._item["type"] == "custom_tool_call":
            self._arguments.append(event.arguments)  # the text is known when it is whole
        elif event.arguments:
            self._item["arguments"] += event.arguments
            yield self._event("response.function_call_arguments.delta", **self._place, delta=event.arguments)

    def _close(self, status: Literal["completed", "incomplete"]) -> Iterator[WireEvent]:
        item = self._item
        if item is None:
            return
        item["status"] = status
        if item["type"] == "custom_tool_call":
            item["input"] = text_in("".join(self._arguments))
            stem = "response.custom_tool_call_input"
            yield self._event(f"{stem}.delta", **self._place, delta=item["input"])
            yield self._event(f"{stem}.done", **self._place, input=item["input"])
        elif item["type"] == "function_call":
            yield self._event(
                "response.function_call_arguments.done",
                **self._place,
                name=item["name"],
                arguments=item["arguments"],
            )
        else:
            part, stem = item["content"][0], PARTS[item["type"]][2]
            scored = {"logprobs": snapshot(part["logprobs"])} if item["type"] == "message" else {}
            yield self._event(f"{stem}.done", **self._place, content_index=0, text=part["text"], **scored)
            yield self._event("response.content_part.done", **self._place, content_index=0, part=snapshot(part))
        yield self._event("response.output_item.done", output_index=self._place["output_index"], item=snapshot(item))
        self._item = None


def new_item(kind: str) -> dict[str, Any]:
    match kind:
        case "reasoning":
            return {"id": new_id("rs"), "type": kind, "summary": [], "content": [], "status": "in_progress"}
        case "message":
            return {"id": new_id("msg"), "type": kind, "role": "assistant", "content": [], "status": "in_progress"}
    return {"id": new_id("fc" if kind == "function_call" else "ctc"), "type": kind, "status": "in_progress"}


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(20)}"


def snapshot(value: Any) -> Any:
    """A copy that does not change when the original grows."""
    match value:
        case Mapping():
            return {name: snapshot(each) for name, each in value.items()}
        case list():
            return [snapshot(each) for each in value]
    return value


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.reused, "cache_write_tokens": 0},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.output,
    }
