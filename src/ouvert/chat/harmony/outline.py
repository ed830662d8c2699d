"""What a model may write around its contents, as data: so that an engine can keep headers from going wrong.

Each header is spelled in one way, the one gpt-oss was trained on:
`<|channel|>commentary to=functions.name <|constrain|>json<|message|>`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ouvert.chat.conversation import NO_ARGUMENTS, Conversation, Message
from ouvert.chat.format import ChatError
from ouvert.chat.harmony.sections import BUILTIN, FUNCTIONS
from ouvert.chat.harmony.tokens import HarmonyTokens
from ouvert.chat.outline import ANSWER_END, ANSWER_START, Calls, Kind, Outline, Segment

Encode = Callable[[str], list[int]]


def outline_of(
    encode: Encode, tokens: HarmonyTokens, conversation: Conversation, calls: Calls, *, shaped: bool
) -> Outline:
    """Thoughts and preambles in any number and order, then a call or the answer.

    `calls` "none" leaves calls out, "required" leaves the answer out. Preambles are text and would stand before an
    answer that has to be of a form (`shaped`): then there are none. Before a call that is required there is at most one
    thought and one preamble: a model that would rather answer could go on thinking for ever.
    """
    segments = tuple(
        segment
        for segment in segments_of(encode, tokens, conversation, calls)
        if not (shaped and segment.kind == "preamble")
    )
    every = frozenset(segment.kind for segment in segments)
    over = frozenset({ANSWER_END})
    forced = calls == "required"
    return Outline(
        segments=segments,
        follows={
            ANSWER_START: every,
            "thought": every - {"thought"} if forced else every,
            "preamble": frozenset({"call"}) if forced else every,
            "call": over,
            "answer": over,
        },
        cut=(tokens.end, *link(encode, tokens)),
    )


def link(encode: Encode, tokens: HarmonyTokens) -> tuple[int, ...]:
    """What stands between two messages of an answer."""
    return (tokens.start, *encode("assistant"))


def segments_of(encode: Encode, tokens: HarmonyTokens, conversation: Conversation, calls: Calls) -> Iterator[Segment]:
    """Thoughts, then preambles and calls of the conversation's tools, then the answer, which follows its schema."""

    def segment(kind: Kind, *header: str | int, end: int, schema: Mapping[str, Any] | None = None) -> Segment:
        parts = (tokens.channel, *header, tokens.message)
        ids = [token for part in parts for token in ([part] if isinstance(part, int) else encode(part))]
        goes_on = end == tokens.end
        return Segment(kind, tuple(ids), (end, *link(encode, tokens)) if goes_on else (end,), schema)

    yield segment("thought", "analysis", end=tokens.end)
    if calls != "none" and (conversation.tools or conversation.builtin_tools):
        yield segment("preamble", "commentary", end=tokens.end)
        for tool in conversation.tools:
            header = (f"commentary to={FUNCTIONS}.{tool.name} ", tokens.constrain, "json")
            schema = tool.parameters if tool.parameters is not None else NO_ARGUMENTS
            yield segment("call", *header, end=tokens.call, schema=schema)
        for recipient, parameters in builtin_recipients(conversation):
            yield segment("call", f"analysis to={recipient} code", end=tokens.call, schema=parameters)
    if calls != "required":
        yield segment("answer", "final", end=tokens.end_return, schema=conversation.answer_schema)


def answer_segments(
    encode: Encode, tokens: HarmonyTokens, conversation: Conversation, message: Message
) -> list[tuple[Segment, str]]:
    """An assistant's message as the segments of an answer, each with its contents, to the one that ends it.

    Raises ChatError for a call of a tool that the conversation does not have, and for thoughts alone.
    """
    offered = list(segments_of(encode, tokens, conversation, "auto"))
    kinds = {segment.kind: segment for segment in offered}
    found = [(kinds["thought"], message.reasoning)] if message.reasoning else []
    if not message.tool_calls:
        if not message.content and message.reasoning:
            raise ChatError(
                "writing Harmony: the answer is only thought, expected words or a call behind it. Add what the "
                "assistant says, or leave the message out."
            )
        return [*found, (kinds["answer"], message.content)]
    names = [f"{FUNCTIONS}.{tool.name}" for tool in conversation.tools]
    names += [recipient for recipient, _ in builtin_recipients(conversation)]
    calls = dict(zip(names, (each for each in offered if each.kind == "call"), strict=True))
    call = message.tool_calls[0]
    segment = calls.get(f"{FUNCTIONS}.{call.name}") or calls.get(call.name)
    if segment is None:
        raise ChatError(
            f"writing Harmony: the answer calls {call.name!r:.80}, and the conversation declares "
            f"{', '.join(names)[:200] or 'no tools'}. Declare it among the conversation's tools."
        )
    if message.content:
        found.append((kinds["preamble"], message.content))
    return [*found, (segment, call.arguments)]


def builtin_recipients(conversation: Conversation) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """Each recipient of the model's built-in tools, with the schema of its arguments; None: they are free text."""
    for namespace in (BUILTIN[name] for name in sorted(conversation.builtin_tools)):
        schemas = {f"{namespace.name}.{tool.name}": tool.parameters for tool in namespace.tools}
        for recipient in namespace.recipients:
            yield recipient, schemas.get(recipient)
