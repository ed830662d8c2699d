"""Blocks of Anthropic's dialect: what a client sends, as messages of a conversation."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ouvert.assistant import Message, ToolCall
from ouvert.serving.errors import Refusal
from ouvert.serving.header_lines import LEFT_OUT, without_header_lines
from ouvert.serving.streams import json_text
from ouvert.serving.wire import Several, Wire

SIGNATURE = "ouvert-sha256:"
PARAGRAPH = "\n\n"
# Blocks that hold what the other side's models can read and ours cannot -> what to do instead.
UNREADABLE = {
    "image": "these models read text only. Describe it in words.",
    "container_upload": "nothing runs in a container here. Send the file's text.",
}


class Source(Wire):
    """The source of a document: its text, or blocks of text. Files, addresses and PDF are refused."""

    type: str
    data: str | None = None
    media_type: str | None = None
    content: "str | Several[Block] | None" = None


class Citations(Wire):
    enabled: bool | None = None


class Block(Wire):
    """A piece of a message. Which fields count is told by its type: text, thinking, redacted_thinking, tool_use,
    tool_result, document or search_result."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"cache_control", "caller"})

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: "str | Several[Block] | None" = None
    is_error: bool | None = None
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    citations: Citations | Several[Any] | None = None


class SentMessage(Wire):
    role: Literal["user", "assistant", "system"]
    content: str | Several[Block]


@dataclass
class Reading:
    """Messages as they are read, and what of them could not be honoured."""

    messages: list[Message] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, message: Message) -> None:
        """Turns of a user or an assistant that follow each other are one turn, as Anthropic has it."""
        last = self.messages[-1] if self.messages else None
        if last is None or last.role != message.role or message.role not in ("user", "assistant"):
            self.messages.append(message)
            return
        apart = PARAGRAPH if last.content and message.content else ""
        self.messages[-1] = Message(
            role=message.role,
            content=last.content + apart + message.content,
            reasoning=PARAGRAPH.join(each for each in (last.reasoning, message.reasoning) if each) or None,
            tool_calls=last.tool_calls + message.tool_calls,
        )


def read_messages(system: str | Sequence[Block] | None, messages: Sequence[SentMessage]) -> Reading:
    """Raises Refusal for what cannot be read."""
    reading = Reading()
    if text := instructions(system or "", "system", reading):
        reading.add(Message(role="system", content=text))
    for n, message in enumerate(messages):
        where = f"messages[{n}].content"
        match message.role:
            case "system":
                reading.add(Message(role="system", content=instructions(message.content, where, reading)))
            case "user":
                read_user(message.content, where, reading)
            case "assistant":
                read_assistant(message.content, where, reading)
    if reading.messages[-1].role == "assistant":
        raise Refusal(
            400,
            "The last message is the assistant's, expected the user's: an answer that has been begun is not "
            "continued here. For a form of the answer, send output_config.format.",
            code="unsupported_parameter",
            param=f"messages[{len(messages) - 1}]",
        )
    return reading


def read_user(content: str | Sequence[Block], where: str, reading: Reading) -> None:
    """Results come before what else the user says, wherever they stand: they answer the calls before."""
    if isinstance(content, str):
        reading.add(Message(role="user", content=content))
        return
    texts, results = [], 0
    for n, block in enumerate(content):
        place = f"{where}[{n}]"
        if block.type != "tool_result":
            texts.append(text_of(block, place, reading))
            continue
        result = joined(block.content or "", f"{place}.content", reading)
        text = f"Error: {result}" if block.is_error else result
        reading.add(Message(role="tool", content=text, tool_call_id=given(block.tool_use_id, f"{place}.tool_use_id")))
        results += 1
    if texts or not results:
        reading.add(Message(role="user", content=PARAGRAPH.join(text for text in texts if text)))


def read_assistant(content: str | Sequence[Block], where: str, reading: Reading) -> None:
    if isinstance(content, str):
        reading.add(Message(role="assistant", content=content))
        return
    texts, thoughts, calls = [], [], []
    for n, block in enumerate(content):
        place = f"{where}[{n}]"
        match block.type:
            case "thinking":
                if thought := checked_thought(block, place):
                    thoughts.append(thought)
            case "redacted_thinking":
                reading.notes.append("redacted_thinking: thoughts that another provider hid cannot be read here")
            case "tool_use":
                arguments = json_text(given(block.input, f"{place}.input"))
                calls.append(ToolCall(given(block.id, f"{place}.id"), given(block.name, f"{place}.name"), arguments))
            case _:
                texts.append(text_of(block, place, reading))
    reading.add(
        Message(
            role="assistant",
            content="".join(texts),
            reasoning=PARAGRAPH.join(thoughts) or None,
            tool_calls=tuple(calls),
        )
    )


def instructions(content: str | Sequence[Block], where: str, reading: Reading) -> str:
    """`joined`, without the lines that are for the client's own provider."""
    if isinstance(content, str):
        texts = [content]
    else:
        texts = [text_of(block, f"{where}[{n}]", reading) for n, block in enumerate(content)]
    read = [without_header_lines(text) for text in texts]
    if read != texts:
        reading.notes.append(LEFT_OUT)
    return PARAGRAPH.join(text for text in read if text)


def joined(content: str | Sequence[Block], where: str, reading: Reading) -> str:
    if isinstance(content, str):
        return content
    texts = [text_of(block, f"{where}[{n}]", reading) for n, block in enumerate(content)]
    return PARAGRAPH.join(text for text in texts if text)


def text_of(block: Block, where: str, reading: Reading) -> str:
    """The text of a block that is text, or a document of text. Raises Refusal for any other."""
    match block.type:
        case "text":
            return str(given(block.text, f"{where}.text"))
        case "document":
            if isinstance(block.citations, Citations) and block.citations.enabled:
                reading.notes.append("citations: these models do not say which passage they answer from")
            return PARAGRAPH.join(document_parts(block, where, reading))
        case "search_result":
            found = joined(given(block.content, f"{where}.content"), f"{where}.content", reading)
            source = block.source if isinstance(block.source, str) else None
            return PARAGRAPH.join(part for part in (block.title, source, found) if part)
    remedy = UNREADABLE.get(
        block.type, "only text, thinking, tool_use, tool_result and documents of text are read here. Leave it out."
    )
    raise Refusal(
        400,
        f"{where} is of the type {block.type!r:.40}, and {remedy}",
        code="unsupported_content",
        param=where,
    )


def document_parts(block: Block, where: str, reading: Reading) -> Iterator[str]:
    yield from (part for part in (block.title, block.context) if part)
    match block.source:
        case Source(type="text", data=str(text)):
            yield text
        case Source(type="content", content=content) if content is not None:
            yield joined(content, f"{where}.source.content", reading)
        case source:
            kind = source.type if isinstance(source, Source) else None
            raise Refusal(
                400,
                f"{where}.source is of the type {kind!r:.40}, expected text or content: PDF and files are not read "
                "here. Send the document's text.",
                code="unsupported_content",
                param=f"{where}.source",
            )


def signature_of(thought: str) -> str:
    """A checksum, and no more than that: it tells a thought that came back whole from one that was changed.

    Nothing is trusted because of it. The client could as well have sent another text.
    """
    return SIGNATURE + hashlib.sha256(thought.encode("utf-8", "surrogatepass")).hexdigest()


def checked_thought(block: Block, where: str) -> str:
    """The thought; "" where it was left out (`display: omitted`). Signatures of other providers mean nothing here.

    Raises Refusal for a thought of this server's that was changed on the way.
    """
    thought, signature = block.thinking or "", block.signature or ""
    if thought and signature.startswith(SIGNATURE) and signature != signature_of(thought):
        raise Refusal(
            400,
            f"{where}: this thought was changed, its signature is of another. Send it as it came, or leave the block "
            "out.",
            code="invalid_value",
            param=where,
        )
    return thought


def given(value: Any, where: str) -> Any:
    if value is None:
        raise Refusal(400, f"{where} is missing, and a block of its type has it.", code="invalid_value", param=where)
    return value
