"""Conversations as Harmony sees them: one message for each thought, call, result and answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ouvert.chat.conversation import Conversation, Message, ToolCall
from ouvert.chat.format import ChatError, Source
from ouvert.chat.harmony.sections import BUILTIN, FUNCTIONS, developer_text, system_text

CONSTRAIN = "<|constrain|>"


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmonyMessage:
    """One message: who says it, to whom, on which channel, of what type.

    `author` is a role, or a tool's full name; `name` is a user's. A `content_type` that begins with "<|constrain|>"
    is written with that token. `origin` is the index of the message it comes from and `source` whose text it is.
    """

    author: str
    text: str
    name: str | None = None
    recipient: str | None = None
    channel: str | None = None
    content_type: str | None = None
    origin: int | None = None
    source: Source = "supplied"


def without_old_analysis(messages: Sequence[HarmonyMessage]) -> list[HarmonyMessage]:
    """What openai-harmony's renderer drops by itself: analysis before the first final, once the last word is final."""
    spoken = [message.channel for message in messages if message.author == "assistant"]
    if not spoken or spoken[-1] != "final":
        return list(messages)
    first_final = next(index for index, message in enumerate(messages) if message.channel == "final")
    return [message for index, message in enumerate(messages) if index >= first_final or message.channel != "analysis"]


def messages_of(
    conversation: Conversation, *, identity: str | None, knowledge_cutoff: str | None
) -> list[HarmonyMessage]:
    """The whole conversation. Analysis is kept only behind the last final answer: while a tool loop is open.

    Raises ChatError for what Harmony cannot say.
    """
    refuse(conversation)
    builtin = [BUILTIN[name] for name in sorted(conversation.builtin_tools)]
    system = system_text(
        identity=identity,
        knowledge_cutoff=knowledge_cutoff,
        date=None if conversation.date is None else conversation.date.isoformat(),
        effort=conversation.effort or "medium",
        builtin=builtin,
        functions=bool(conversation.tools),
    )
    found = [HarmonyMessage(author="system", text=system, source="format")]

    leading = 0
    while leading < len(conversation.messages) and conversation.messages[leading].role in {"system", "developer"}:
        leading += 1
    instructions = "\n\n".join(message.content for message in conversation.messages[:leading]) if leading else None
    if developer := developer_text(instructions, conversation.tools, conversation.answer_schema):
        found.append(HarmonyMessage(author="developer", text=developer, origin=0 if leading == 1 else None))

    finals = [index for index, message in enumerate(conversation.messages) if is_final(message)]
    last_final = max(finals, default=-1)
    callable_names = {name for namespace in builtin for name in namespace.recipients}
    for index, message in enumerate(conversation.messages[leading:], start=leading):
        for each in said_by(message, index, conversation.messages[:index], callable_names):
            if index > last_final or each.channel != "analysis":
                found.append(each)
    return found


def is_final(message: Message) -> bool:
    """Whether an assistant's message ends its turn."""
    return message.role == "assistant" and not message.tool_calls and (bool(message.content) or not message.reasoning)


def said_by(message: Message, index: int, before: Sequence[Message], builtin: set[str]) -> Iterator[HarmonyMessage]:
    match message.role:
        case "system" | "developer":
            yield HarmonyMessage(author="developer", text=developer_text(message.content, ()), origin=index)
        case "user":
            yield HarmonyMessage(author="user", name=message.name, text=message.content, origin=index)
        case "tool":
            recipient = recipient_of(answered(message, before), builtin)
            channel = "analysis" if recipient in builtin else "commentary"
            yield HarmonyMessage(
                author=recipient, recipient="assistant", channel=channel, text=message.content, origin=index
            )
        case "assistant":
            yield from said_by_assistant(message, index, builtin)


def said_by_assistant(message: Message, index: int, builtin: set[str]) -> Iterator[HarmonyMessage]:
    def said(text: str, channel: str, recipient: str | None = None, kind: str | None = None) -> HarmonyMessage:
        return HarmonyMessage(
            author="assistant",
            text=text,
            recipient=recipient,
            channel=channel,
            content_type=kind,
            origin=index,
            source="chosen",
        )

    if message.reasoning:
        yield said(message.reasoning, "analysis")
    if is_final(message):
        yield said(message.content, "final")
    elif message.content:
        yield said(message.content, "commentary")  # a preamble: it is meant to be read
    for call in message.tool_calls:
        recipient = recipient_of(call.name, builtin)
        if recipient in builtin:
            yield said(call.arguments, "analysis", recipient, "code")
        else:
            yield said(call.arguments, "commentary", recipient, CONSTRAIN + "json")


def recipient_of(name: str, builtin: set[str]) -> str:
    return name if name in builtin else f"{FUNCTIONS}.{name}"


def answered(message: Message, before: Sequence[Message]) -> str:
    """The name of the tool whose result this is: the caller may leave out either the name or the id."""
    calls: list[ToolCall] = [call for earlier in reversed(before) for call in earlier.tool_calls]
    by_id = next((call.name for call in calls if call.id == message.tool_call_id), None)
    name = message.name or by_id
    if name is None:
        raise ChatError(
            f"writing Harmony: a tool's message answers the call {message.tool_call_id!r}, which no message before it "
            "made, and it has no name. Give it the name of the tool, or send the message with the call."
        )
    return name


def refuse(conversation: Conversation) -> None:
    if conversation.thinking is False:
        raise ChatError(
            "writing Harmony: the conversation asks for thinking=False, but this model always thinks; "
            "ask for effort='low', or end the thinking with a budget."
        )
    if unknown := sorted(conversation.builtin_tools - BUILTIN.keys()):
        raise ChatError(
            f"writing Harmony: the conversation asks for the built-in tools {', '.join(unknown)}; the model knows "
            f"{' and '.join(sorted(BUILTIN))}. Declare others as functions."
        )
    if {"python", "python_offline"} <= conversation.builtin_tools:
        raise ChatError(
            "writing Harmony: the conversation asks for both python and python_offline, expected one of them: they are "
            "the same tool with another sentence. Leave one out."
        )
    builtin = {name for each in conversation.builtin_tools for name in BUILTIN[each].recipients}
    if doubled := sorted(builtin & {tool.name for tool in conversation.tools}):
        raise ChatError(
            f"writing Harmony: {', '.join(doubled)} is both a function and a built-in tool of the conversation, so "
            "nobody could tell whose call it is. Rename the function."
        )
